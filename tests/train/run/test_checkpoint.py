"""Checkpoints of a model that needs no DeepSpeed; ``test_pretrain.py`` has the real thing."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from shards.base.atomic import part_of
from shards.base.errors import InputError
from train.checkpoints.snapshot import read_mark, read_tensors, seal, write_tensors
from train.methods.contract import Method
from train.methods.queue.key_queue import KeyQueue
from train.ranks.world import World
from train.run.checkpoint import Checkpoints
from train.trainer import Progress

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


class Loader:
    """An epoch of 10 batches of 4, with 2 images left over."""

    def __init__(self) -> None:
        self.state = {"seed": 0, "epoch": 0, "position": 0}

    def __len__(self) -> int:
        return 10

    def state_dict(self) -> dict[str, int]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.state = dict(state)


class TinyMethod(Method):
    """A model, a momentum copy and a queue; without settings, which state does not need."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        networks: Any = [nn.Sequential(nn.Linear(50, 20), nn.BatchNorm1d(20)) for _ in range(2)]
        self.model, self.target = networks
        self.negatives = KeyQueue(8, 2, seed=0)


class Run:
    """A method with its optimiser, loader and checkpoints."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.method, self.loader = TinyMethod(), Loader()
        self.engine = SimpleNamespace(
            optimizer=torch.optim.Adam(self.method.model.parameters()),
            zero_optimization_stage=lambda: 0,
            torch_autocast_z0_gradscaler=None,
            train_micro_batch_size_per_gpu=lambda: 4,
        )
        defaults: dict[str, Any] = {"keep": 2, "keep_best": 0, "data": ["crc"], "num_images": 42, "world": WORLD}
        self.trainer: Any = SimpleNamespace(method=self.method, engine=self.engine, progress=Progress())
        names = {"method": "moco_v2", "encoder": "resnet18"}
        self.checkpoints = Checkpoints(folder, **(defaults | {"names": names} | settings))

    def train(self, step: int) -> None:
        self.method.model(torch.randn(4, 50)).square().sum().backward()
        self.method.target(torch.randn(4, 50))
        self.engine.optimizer.step()
        self.engine.optimizer.zero_grad()
        self.method.negatives.enqueue(torch.randn(3, 2), torch.tensor([step, step, step + 1]))
        self.loader.state = {"seed": 0, "epoch": step // 10, "position": 4 * (step % 10)}

    def save(self, step: int, score: float | None = None) -> bool:
        self.train(step)
        return self.write(step, score)

    def write(self, step: int, score: float | None = None) -> bool:
        self.trainer.progress = Progress(step=step, batch=step)
        return self.checkpoints.save(self.trainer, self.loader, score=score)  # type: ignore[arg-type]

    def restore(self) -> Progress:
        self.checkpoints.restore(self.trainer, self.loader)  # type: ignore[arg-type]
        return self.trainer.progress  # type: ignore[no-any-return]

    def state(self) -> list[torch.Tensor]:
        moments = [value for state in self.engine.optimizer.state.values() for value in state.values()]
        return [torch.as_tensor(value) for value in (*self.method.state_dict().values(), *moments)]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Run]:
    return lambda **settings: Run(tmp_path / "checkpoints", **settings)


@contextmanager
def full_disk(num_bytes: int) -> Iterator[None]:
    """Files cannot grow beyond ``num_bytes``: the system refuses the write, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_gets_back_all_of_its_state(start: Callable[..., Run]) -> None:
    run = start()
    assert run.restore() == Progress()
    assert run.save(13)
    drawn = torch.randn(3)
    other = start()
    other.train(1)
    progress = other.restore()
    assert progress == Progress(step=13, batch=13)
    assert other.loader.state == {"seed": 0, "epoch": 1, "position": 12}
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(other.state(), run.state(), strict=True))
    assert torch.equal(torch.randn(3), drawn), "the random state goes on"


def test_a_checkpoint_of_the_first_version_is_taken(start: Callable[..., Run], tmp_path: Path) -> None:
    """Which kept the model, the parameters of the momentum copy, and the queue as dictionaries of their own."""
    run = start()
    run.save(13)
    folder = tmp_path / "checkpoints" / "step-00000013"
    mark, method, queue = read_mark(folder), run.method, run.method.negatives
    own, state = (read_tensors(folder, name, mark) for name in ("rank-00000.pt", "state.pt"))
    negatives = {"keys": queue.keys, "patients": queue.patients, "position": queue.position}
    assert method.target is not None
    earlier = {
        "model": method.model.state_dict(),
        "optimizer": state["optimizer"],
        "method": {"key": dict(method.target.named_parameters()), "negatives": negatives},
    }
    part_of(folder).mkdir()
    write_tensors(part_of(folder) / "rank-00000.pt", own)
    write_tensors(part_of(folder) / "state.pt", earlier)
    seal(folder, mark)
    other = start()
    assert other.restore() == Progress(step=13, batch=13)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(other.state(), run.state(), strict=True))


def test_keeps_the_newest_and_the_best(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start(keep=2, keep_best=1)
    for step, score in ((1, 0.7), (2, 0.9), (3, None), (4, 0.8), (5, float("nan"))):
        run.save(step, score)
    assert names(tmp_path / "checkpoints") == ["step-00000002", "step-00000004", "step-00000005"]


@pytest.mark.parametrize("damage", ["cut", "byte", "mark", "file"])
def test_a_broken_newest_falls_back_to_the_one_before(start: Callable[..., Run], tmp_path: Path, damage: str) -> None:
    run = start()
    run.save(3)
    before = [tensor.clone() for tensor in run.state()]
    run.save(6)
    newest = tmp_path / "checkpoints" / "step-00000006"
    path = newest / {"mark": "complete.json", "file": "rank-00000.pt"}.get(damage, "state.pt")
    content = bytearray(path.read_bytes())
    match damage:
        case "cut":
            path.write_bytes(content[:-10])
        case "byte":
            content[len(content) // 2] ^= 255
            path.write_bytes(content)
        case "mark":
            path.write_text(path.read_text()[:40])
        case "file":
            path.unlink()
    other = start()
    with pytest.warns(UserWarning, match="step-00000006 is damaged and is passed over"):
        assert other.restore().step == 3
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(other.state(), before, strict=True))


def test_a_run_whose_checkpoints_are_all_broken_does_not_begin_anew(start: Callable[..., Run], tmp_path: Path) -> None:
    start().save(3)
    (tmp_path / "checkpoints" / "step-00000003" / "state.pt").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(InputError, match="none of its 1 checkpoints can be read"),
    ):
        start().restore()


@pytest.mark.parametrize("suffix", [".part", ".partial"])  # the latter of earlier versions
def test_what_a_killed_save_left_is_cleared_away(start: Callable[..., Run], tmp_path: Path, suffix: str) -> None:
    start().save(3)
    left = tmp_path / "checkpoints" / f"step-00000006{suffix}"
    left.mkdir()
    (left / "state.pt").write_bytes(b"half")
    run = start()
    assert run.restore().step == 3
    assert names(tmp_path / "checkpoints") == ["step-00000003"]


@pytest.mark.parametrize("room", [0, 2000])  # for no file at all, and for that of the rank but not of the model
def test_a_full_disk_leaves_the_checkpoint_before(start: Callable[..., Run], tmp_path: Path, room: int) -> None:
    run = start()
    run.save(3)
    with full_disk(room), pytest.warns(UserWarning, match="cannot be written") as warned:
        assert not run.save(6)
    text = str(warned[0].message)
    assert "the checkpoint of step 6 (0 MB) cannot be written" in text
    assert "could be continued from" in text
    assert "step-00000003" in text
    assert names(tmp_path / "checkpoints") == ["step-00000003"]
    assert run.save(9), "there is room again"
    assert start().restore().step == 9


def test_a_disk_that_was_full_from_the_start_stops_the_run(start: Callable[..., Run], tmp_path: Path) -> None:
    with full_disk(0), pytest.raises(InputError, match="none before it to go back to: make room"):
        start().save(3)
    assert names(tmp_path / "checkpoints") == []


def test_another_run_s_checkpoint_is_refused_by_name(start: Callable[..., Run]) -> None:
    start().save(3)
    with pytest.raises(InputError, match=r"method byol: .* is of method moco_v2"):
        start(names={"method": "byol", "encoder": "resnet18"}).restore()
    with pytest.raises(InputError, match=r"encoder vit_s16: .* is of encoder resnet18"):
        start(names={"method": "moco_v2", "encoder": "vit_s16"}).restore()
    with pytest.raises(InputError, match="--data: not what the run was started on"):
        start(data=["other"]).restore()


def test_another_number_of_ranks_averages_what_each_had(start: Callable[..., Run], tmp_path: Path) -> None:
    """Two ranks with batches of 4 have taken 3 steps, 24 of 42 images: one rank has 4 of its 10 batches left."""
    run = start()
    run.save(3)
    folder = tmp_path / "checkpoints" / "step-00000003"
    mark = read_mark(folder)
    one, state = read_tensors(folder, "rank-00000.pt", mark), read_tensors(folder, "state.pt", mark)
    other = {**one, "buffers": {name: buffer + 2 for name, buffer in one["buffers"].items()}}
    part_of(folder).mkdir()
    for name, content in (("rank-00000.pt", one), ("rank-00001.pt", other), ("state.pt", state)):
        write_tensors(part_of(folder) / name, content)
    seal(folder, {**mark, "num_ranks": 2, "loader": {"seed": 0, "epoch": 0, "position": 24}})
    resumed = start()
    with pytest.warns(UserWarning, match="goes on with 1 process"):
        assert resumed.restore() == Progress(step=3, batch=6)
    buffers, saved = resumed.method.rank_state(), one["buffers"]
    for network in ("model", "target"):
        mean, count = f"{network}.1.running_mean", f"{network}.1.num_batches_tracked"
        assert torch.allclose(buffers[mean], saved[mean] + 1)
        assert torch.equal(buffers[count], saved[count])


def test_the_end_of_an_epoch_is_a_whole_number_of_batches(start: Callable[..., Run]) -> None:
    run = start()
    run.train(9)
    run.loader.state = {"seed": 0, "epoch": 0, "position": 40}  # the loader moves on when it is asked for more
    run.write(10)
    assert start().restore() == Progress(step=10, batch=10)


def test_files_say_what_they_are(start: Callable[..., Run], tmp_path: Path) -> None:
    start(world=replace(WORLD)).save(3, score=0.5)
    folder = tmp_path / "checkpoints" / "step-00000003"
    mark = json.loads((folder / "complete.json").read_text())
    assert names(folder) == ["complete.json", "rank-00000.pt", "state.pt"]
    assert mark["score"] == 0.5
    assert (mark["method"], mark["encoder"], mark["num_ranks"]) == ("moco_v2", "resnet18", 1)


def test_one_who_was_taken_for_dead_while_writing_seals_nothing(tmp_path: Path) -> None:
    def lost() -> None:
        raise InputError("lost")

    run = Run(tmp_path, check=lost)
    with pytest.raises(InputError, match="lost"):
        run.save(1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.part"]
