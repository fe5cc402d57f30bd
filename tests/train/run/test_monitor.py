import json
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from train.methods.contract import Objective
from train.ranks.world import World
from train.run.loggers.contract import Run
from train.run.loggers.opening import open_loggers
from train.run.metrics_file import last_values, read_metrics
from train.run.monitor import Monitor, Window, peak_memory_bytes
from train.run.representation import effective_rank, measure
from train.trainer import Progress

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
BATCH, BATCHES = 16, 5  # an epoch
TIMINGS = {"throughput(img/s)", "data_wait(%)", "time_left(s)", "peak_memory(GiB)", "knn_time(s)"}


class StillLoader:
    wait_seconds = 0.0

    def __len__(self) -> int:
        return BATCHES


class CountingNeighbours:
    """Says how often it was asked."""

    def __init__(self, every: int = 1) -> None:
        self.every, self.count = every, 0

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        self.count += 1
        return {"knn_auroc/blob": 0.75}


def objective(batch: int, *, accuracy: float | None = 0.5, collapsed: bool = False) -> Objective:
    random = torch.Generator().manual_seed(batch)
    views = torch.randn(2, BATCH, 8, generator=random) * (0.001 if collapsed else 1) + (1.0 if collapsed else 0.0)
    first, second = F.normalize(views, dim=2)
    return Objective(
        loss=torch.rand((), generator=random),
        first=first,
        second=second,
        features=torch.randn(BATCH, 12, generator=random),
        accuracy=None if accuracy is None else torch.tensor(accuracy),
    )


def run(
    folder: Path,
    *,
    until: int = 20,
    start: int = 0,
    num_steps: int = 20,
    make: Callable[[int], Objective] = objective,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Steps ``start`` to ``until`` of a run with a checkpoint every 7 steps, on a folder that may hold lines."""
    folder.mkdir(exist_ok=True)
    progress, loader, encoder = Progress(step=start, batch=start), StillLoader(), nn.Linear(2, 2)
    settings = {"log_every": 3, "images_per_step": BATCH, "world": WORLD} | settings
    about = Run(folder=folder, settings={}, step=start)
    loggers = open_loggers(["tensorboard"], about, pytest.fail) if settings["world"].leads else ()
    monitor = Monitor(folder, start=progress, num_steps=num_steps, loggers=loggers, **settings)
    monitor.measure_knn_if_due(progress, encoder, loader=loader)  # type: ignore[arg-type]
    for batch in range(start, until):
        made = make(batch)
        monitor.observe(made)
        progress = Progress(step=batch + 1, batch=batch + 1)
        at: dict[str, Any] = {"epoch": progress.batch / BATCHES, "lr": 0.1, "loader": loader}
        monitor.after_step(progress, made, before_checkpoint=progress.step % 7 == 0 or progress.step == num_steps, **at)
        monitor.measure_knn_if_due(progress, encoder, loader=loader)  # type: ignore[arg-type]
    monitor.close("finished")
    return read_metrics(folder / "metrics.jsonl")


def untimed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def test_a_line_is_of_the_steps_since_the_line_before(tmp_path: Path) -> None:
    lines = run(tmp_path / "run")
    assert [line["step"] for line in lines] == [3, 6, 7, 9, 12, 14, 15, 18, 20]
    seen = [objective(batch) for batch in range(3, 6)]  # behind step 3, up to step 6
    features = torch.cat([made.features for made in seen])
    expected = {"step": 6, "epoch": 1.2, "learning_rate": 0.1, "pretext_accuracy(%)": 50.0}
    expected["loss"] = torch.stack([made.loss for made in seen]).mean().item()
    expected |= measure(seen[-1].first, seen[-1].second, features)
    assert untimed(lines)[1] == pytest.approx(expected, rel=1e-5)
    assert lines[1].keys() - expected.keys() == TIMINGS - {"knn_time(s)"}
    assert 0.05 < lines[1]["peak_memory(GiB)"] < 100


def test_no_accuracy_where_there_is_no_task(tmp_path: Path) -> None:
    lines = run(tmp_path / "run", until=6, make=lambda batch: objective(batch, accuracy=None))
    assert all("pretext_accuracy(%)" not in line for line in lines)
    assert all(line["loss"] > 0 for line in lines)


@pytest.mark.parametrize("stop", [8, 11, 15])
def test_a_resumed_run_writes_the_same_lines(tmp_path: Path, stop: int) -> None:
    def collapse(batch: int) -> Objective:
        return objective(batch, collapsed=batch > 9, accuracy=1.0)

    settings: dict[str, Any] = {"num_steps": 70, "make": collapse, "images_per_step": 100}
    whole = run(tmp_path / "whole", until=70, neighbours=CountingNeighbours(every=2), **settings)
    stopped = tmp_path / "stopped"
    run(stopped, until=stop, neighbours=CountingNeighbours(every=2), **settings)
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1')  # cut off by a kill
    again = CountingNeighbours(every=2)
    resumed = run(stopped, start=stop // 7 * 7, until=70, neighbours=again, **settings)
    assert untimed(resumed) == untimed(whole)
    assert [kind for line in whole for kind in line.get("warnings", {})] == ["nearly_solved", "collapse"]
    assert [line["epoch"] for line in whole if "knn_auroc/blob" in line] == [0, 2, 4, 6, 8, 10, 12, 14]


def test_neighbours_are_not_asked_twice(tmp_path: Path) -> None:
    neighbours = CountingNeighbours(every=2)
    run(tmp_path / "run", until=10, neighbours=neighbours, num_steps=10)
    assert neighbours.count == 2  # at the start and behind 2 epochs
    run(tmp_path / "run", start=10, until=10, neighbours=neighbours, num_steps=10)
    assert neighbours.count == 2
    run(tmp_path / "other", until=13, neighbours=neighbours, num_steps=13)
    assert neighbours.count == 5  # at the end too, wherever that is


def test_other_ranks_wait_and_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[World] = []
    monkeypatch.setattr(World, "barrier", lambda world: waits.append(world))
    neighbours = CountingNeighbours()
    assert run(tmp_path / "run", until=10, world=replace(WORLD, rank=1), neighbours=neighbours) == []
    assert neighbours.count == 0
    assert len(waits) == 3  # once a measurement of the leading rank
    assert not list((tmp_path / "run").iterdir())


def test_waiting_for_neighbours_is_no_training_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    class Slow(CountingNeighbours):
        def __call__(self, encoder: nn.Module) -> dict[str, float]:
            clock[0] += 1000
            return super().__call__(encoder)

    def make(batch: int) -> Objective:
        clock[0] += 1
        return objective(batch)

    lines = run(tmp_path / "run", until=9, make=make, neighbours=Slow())
    assert [line["throughput(img/s)"] for line in lines if "loss" in line] == [BATCH] * 4
    assert [line["knn_time(s)"] for line in lines if "knn_time(s)" in line] == [1000, 1000]
    assert [line["time_left(s)"] for line in lines if "loss" in line] == [17, 14, 13, 11]


def test_warnings_are_said_and_kept_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(tmp_path / "run", until=70, num_steps=70, make=lambda batch: objective(batch, collapsed=True))
    warned = [line for line in lines if "warnings" in line]
    assert [(line["step"], *line["warnings"]) for line in warned] == [(51, "collapse")]
    assert capsys.readouterr().err.count("warning: collapse at step 51") == 1


def test_the_bar_says_what_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", neighbours=CountingNeighbours())
    bar = capsys.readouterr().err.strip().splitlines()[-1]
    assert "20/20" in bar
    for part in ("loss 0.", "acc 50%", " img/s", "wait 0%", " GiB", "kNN blob 0.750"):  # the newest of each
        assert part in bar


def test_tensorboard_has_the_same_values(tmp_path: Path) -> None:
    lines = run(tmp_path / "run", neighbours=CountingNeighbours())
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for name in ("loss", "effective_rank", "pretext_accuracy(%)", "knn_auroc/blob"):
        expected = [(line["step"], line[name]) for line in lines if name in line]
        assert [(event.step, event.value) for event in board.Scalars(name)] == [
            (step, pytest.approx(value)) for step, value in expected
        ]


def test_nothing_is_read_from_the_device_between_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoReading(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default), func
            return func(*args, **(kwargs or {}))

    def tolist(tensor: torch.Tensor) -> Any:
        raise AssertionError("tolist")

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)  # it bypasses the dispatcher
    made = [objective(batch) for batch in range(3)]
    monitor = Monitor(tmp_path, start=Progress(), num_steps=9, log_every=3, images_per_step=BATCH, world=WORLD)
    at: dict[str, Any] = {"epoch": 0.5, "lr": 0.1, "loader": StillLoader(), "before_checkpoint": False}
    with NoReading():
        for step in (1, 2):
            monitor.observe(made[step])
            monitor.after_step(Progress(step=step, batch=step), made[step], **at)
        with pytest.raises(AssertionError, match="tolist"):
            monitor.after_step(Progress(step=3, batch=3), made[2], **at)
    monitor.close("finished")


@pytest.mark.parametrize("sizes", [[3], [4, 4, 4], [10, 1], [7, 7, 25, 2]])
def test_a_window_holds_the_last_rows(sizes: list[int]) -> None:
    window, rows = Window(10), torch.arange(float(sum(sizes)))[:, None]
    for part in rows.split(sizes):
        window.put(part)
    assert sorted(window.rows()[:, 0].tolist()) == rows[-10:, 0].tolist()
    window.clear()
    window.put(rows[:2].bfloat16())
    assert window.rows()[:, 0].tolist() == [0, 1]
    assert window.rows().dtype == torch.float32


def test_the_effective_rank_is_of_more_images_than_a_batch(tmp_path: Path) -> None:
    lines = run(tmp_path / "run", until=3)
    alone = effective_rank(objective(2).features).item()
    assert lines[0]["effective_rank"] > alone


def test_peak_memory_is_in_bytes() -> None:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    assert 0.9 * resident < peak_memory_bytes(WORLD.device) < 100 * resident


def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_every_line_is_plain_json(tmp_path: Path) -> None:
    class Undefined(CountingNeighbours):
        def __call__(self, encoder: nn.Module) -> dict[str, float]:
            return {"knn_auroc/blob": float("nan")}

    run(tmp_path / "run", neighbours=Undefined())
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[0]["knn_auroc/blob"] is None


def test_last_values_are_the_newest_of_each_name() -> None:
    lines = [
        {"step": 1, "loss": 2.0, "warnings": {"collapse": "..."}},
        {"step": 2, "loss": 1.0},
        {"step": 2, "knn": 0.5},
    ]
    assert last_values(lines) == {"step": 2, "loss": 1.0, "knn": 0.5}
