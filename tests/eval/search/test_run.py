"""The way of a search with pretraining and probes played by numbers; and, slow, one with both as they are."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.__main__ import main
from eval.search.config import SearchConfig, read_search
from eval.search.probe import Probe
from eval.search.run import run_search
from shards.base.errors import InputError
from train.settings.config import PretrainConfig

AREAS = {0.5: 0.02, 0.6: 0.05, 0.7: 0.04, 0.8: 0.01}  # lowest area to gain


def made(packed: Path, folder: Path, **fields: Any) -> SearchConfig:
    content = {
        "data": str(packed),
        "label": "sick",
        "recipes": "debug",
        "settings": {"views.area": [[area, 1.0] for area in AREAS]},
        "seeds": [0, 1],
        "images": 960,
        **fields,
    }
    path = folder / "search.yaml"
    path.write_text(json.dumps(content))
    return read_search(path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[PretrainConfig]:
    """The runs that were asked for, none of which is trained; the gain of a run is its area's."""
    asked: list[PretrainConfig] = []

    def pretrain(config: PretrainConfig) -> bool:
        asked.append(config)
        assert config.output is not None
        config.output.mkdir(parents=True, exist_ok=True)
        return False

    def aurocs(probe: Probe, run: Path) -> Any:
        config = next(each for each in asked if each.output == run)
        noise = 0.001 * np.arange(5)[:, None]
        return 0.7 + AREAS[config.views.area[0]] + 0.01 * config.run.seed + noise, np.full((5, 1), 0.7)

    monkeypatch.setattr("eval.search.run.pretrain", pretrain)
    monkeypatch.setattr("eval.search.run.settle", lambda config, **_: config)
    monkeypatch.setattr("eval.search.run._has_ended", lambda *_: True)
    monkeypatch.setattr(Probe, "aurocs", aurocs)
    return asked


def test_the_better_half_goes_on_for_twice_as_long(packed: Path, tmp_path: Path, trained: Any, capsys: Any) -> None:
    config = made(packed, tmp_path)
    assert run_search(config, opens_test=False)
    asked = [(each.views.area[0], each.run.seed, each.run.epochs) for each in trained]
    wanted = [(area, seed, 2) for area in AREAS for seed in (0, 1)]
    wanted += [(area, seed, 4) for area in (0.6, 0.7) for seed in (0, 1)]
    assert sorted(asked) == sorted([*wanted, (0.6, 0, 8), (0.6, 1, 8)])
    assert len({each.output for each in trained}) == 8, "a run goes on in its folder"
    first = capsys.readouterr().out.rpartition("\nrung 3\n")[2].splitlines()[0]
    assert "views.area 0.6-1.0" in first
    assert "+0.0570" in first, "the mean over folds and seeds, of .05, .01 / 2 and .002"
    folds = np.var(0.001 * np.arange(5), ddof=1) / 5
    assert f"{np.sqrt(folds + np.var([0, 0.01], ddof=1) / 2):.4f}" in first
    assert not first.endswith("yes"), "nothing goes on behind the last rung"
    assert "views.area 0.6-1.0" in (config.folder / "search.html").read_text()


def test_the_same_command_goes_on_and_computes_nothing_twice(
    packed: Path, tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls = made(packed, tmp_path), []
    monkeypatch.setattr("eval.search.run._has_ended", lambda *_: calls.append(1) or len(calls) != 4)
    assert not run_search(config, opens_test=False), "the fourth run was asked to stop"
    assert len(trained) == 4
    assert run_search(config, opens_test=False)
    assert len(trained) == 15, "14 runs and the one that was stopped"
    assert run_search(config, opens_test=False)
    assert len(trained) == 15


def test_a_schedule_of_its_own_begins_anew(packed: Path, tmp_path: Path, trained: Any) -> None:
    run_search(made(packed, tmp_path, schedule="own"), opens_test=False)
    assert {each.schedule.name for each in trained} == {"cosine"}
    assert len({each.output for each in trained}) == 14


def test_minutes_are_spent_epoch_by_epoch(
    packed: Path, tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 30))  # each run takes half a minute
    monkeypatch.setattr("eval.search.run.perf_counter", lambda: next(clock))
    config = made(packed, tmp_path, images=None, minutes=2, seeds=[0], settings={"views.area": [[0.5, 1], [0.6, 1]]})
    run_search(config, opens_test=False)
    assert [(each.views.area[0], each.run.epochs) for each in trained] == [
        *[(0.5, 1), (0.5, 2), (0.6, 1), (0.6, 2)],
        *[(0.6, 3), (0.6, 4)],
    ]


def test_one_that_fails_is_left_behind_and_all_that_fail_are_told(
    packed: Path, tmp_path: Path, trained: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from eval.search import run

    plain = run.pretrain

    def diverging(config: PretrainConfig) -> bool:
        if config.views.area[0] == 0.6:
            raise InputError("loss: not finite")
        return plain(config)

    def failing(config: PretrainConfig) -> bool:
        raise InputError("loss: not finite")

    monkeypatch.setattr("eval.search.run.pretrain", diverging)
    run_search(made(packed, tmp_path), opens_test=False)
    out = capsys.readouterr().out
    assert "loss: not finite" in out
    assert "0.7-1.0" in next(line for line in out.splitlines() if line.startswith("rung 3;"))
    monkeypatch.setattr("eval.search.run.pretrain", failing)
    with pytest.raises(InputError, match="loss: not finite; and no other one is left"):
        run_search(made(packed, tmp_path, output=str(tmp_path / "other")), opens_test=False)


def test_other_settings_need_another_folder(packed: Path, tmp_path: Path, trained: Any) -> None:
    run_search(made(packed, tmp_path), opens_test=False)
    with pytest.raises(InputError, match="holds a search with other settings .images"):
        run_search(made(packed, tmp_path, images=1920), opens_test=False)


def test_the_test_split_is_opened_for_one_alone(packed: Path, tmp_path: Path, trained: Any) -> None:
    config = made(packed, tmp_path)
    run_search(config, opens_test=False)
    path = config.folder / "search.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"tested": "another"}))
    with pytest.raises(InputError, match="opened for another already"):
        run_search(config, opens_test=True)


@pytest.mark.slow
def test_from_the_file_to_the_test_split(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    made(packed, tmp_path, seeds=[0], images=240, random_starts=1, settings={"optimizer.lr": [1e-3, 1e-4]})
    monkeypatch.setattr(sys, "argv", ["eval", "search", str(tmp_path / "search.yaml"), "--open-test"])
    main()
    out = capsys.readouterr().out
    assert "debug optimizer.lr" in out
    assert "pretrained" in out, "the comparison on the test split"
    state = json.loads((tmp_path / "search" / "search.json").read_text())
    assert sorted(run["epochs"] for run in state["runs"].values()) == [1, 2]
    assert state["tested"].startswith("debug optimizer.lr")
    assert (tmp_path / "search" / "test" / "results.json").exists()
