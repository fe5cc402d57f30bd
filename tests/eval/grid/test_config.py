"""Settings are checked field by field; the grid of one run; the grid of a file."""

import dataclasses
import os
from pathlib import Path

import pytest

from eval.finetune.config import FinetuneConfig
from eval.grid.config import GridConfig, KnnConfig, Settings, check_grid, grid_of_run
from eval.grid.file import read_grid
from shards.base.errors import InputError

SETTINGS = Settings(data=(Path("data/made"),), label=("Pleural Effusion",))
FILE = """
data: data/made
label: Finding
starts: {plain: random, mine: runs/a}
readout: [linear, few-shot]
fraction: [0.01, 1]
shots: 2
draws: 3
finetune: {max_steps: 20}
"""


def grid(**settings) -> GridConfig:
    return grid_of_run((Path("runs/a"),), ("random",), "linear", dataclasses.replace(SETTINGS, **settings))


def test_the_grid_of_a_run(tmp_path: Path) -> None:
    made = grid_of_run((tmp_path,), ("random", "imagenet", "runs/other"), "few-shot", SETTINGS, shots=(3,))
    sources = {"random": "random", "imagenet": "imagenet", "other": "runs/other", "pretrained": str(tmp_path)}
    assert made.starts == {name: (source,) for name, source in sources.items()}
    assert (made.baseline, made.readout, made.shots) == ("random", ("few-shot",), (3,))
    assert made.output == tmp_path / "eval" / "few-shot-made-pleural-effusion"
    assert made.features == tmp_path / "eval" / "features"
    (tmp_path / "checkpoints" / "step-00000006").mkdir(parents=True)
    of_step = grid_of_run((tmp_path / "checkpoints" / "step-00000006",), (), "knn", SETTINGS)
    assert of_step.output == tmp_path / "eval" / "step-00000006-knn-made-pleural-effusion", "not in it"
    assert of_step.features == tmp_path / "eval" / "features"
    alone = grid_of_run((tmp_path / "encoder.safetensors",), (), "knn", SETTINGS, output=Path("o"))
    assert (alone.baseline, alone.output, alone.features) == ("pretrained", Path("o"), tmp_path / "eval" / "features")
    many = dataclasses.replace(SETTINGS, label=("a", "b", "c", "d"))
    assert grid_of_run((tmp_path,), (), "knn", many).output.name == "knn-made-4-labels"
    two = grid_of_run((tmp_path, Path("b")), (), "knn", SETTINGS)
    assert two.starts == {"pretrained": (str(tmp_path), "b")}
    assert two.output == tmp_path / "eval" / "knn-made-pleural-effusion-2-runs"
    with pytest.raises(InputError, match="--run: no value"):
        grid_of_run((), (), "knn", SETTINGS)


def test_features_lie_beside_the_results_where_the_run_is_closed_to_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path / "run")))
    (tmp_path / "run").mkdir()
    made = grid_of_run((tmp_path / "run",), (), "linear", SETTINGS, output=tmp_path / "out")
    assert made.features == tmp_path / "out" / "features"
    with pytest.raises(InputError, match="run cannot be written"):
        grid_of_run((tmp_path / "run",), (), "linear", SETTINGS)


def test_equal_names_are_refused() -> None:
    with pytest.raises(InputError, match="--against b/x: another start has the name 'x'"):
        grid_of_run((Path("runs/a"),), ("a/x", "b/x"), "linear", SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": ()}, "--label: no value"),
        ({"data": ()}, "--data: no value"),
        ({"draws": 0}, "--draws 0"),
        ({"random_starts": 0}, "--random-starts 0"),
        ({"jobs": 0}, "--jobs 0"),
        ({"seed": -1}, "--seed -1"),
        ({"replicates": 10}, "--replicates 10"),
        ({"level": 95.0}, "--level 95"),
        ({"specificity": 1.0}, "--specificity 1"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid(**settings)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fraction": (0.1, 1.5)}, "--fraction 1.5"),
        ({"fraction": (0.0,)}, "--fraction 0"),
        ({"fraction": ()}, "--fraction: no value"),
        ({"shots": (0,)}, "--shots 0"),
        ({"readout": ()}, "readout: no value"),
        ({"baseline": "other"}, "baseline 'other': is none of the starts random, pretrained"),
        ({"knn": KnnConfig(neighbours=0)}, "--neighbours 0"),
        ({"knn": KnnConfig(temperature=0.0)}, "--temperature 0"),
        ({"output": Path(__file__)}, "is a file"),
    ],
)
def test_fields_out_of_range(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_grid(dataclasses.replace(grid(), **fields))


def test_several_jobs_of_several_processes_are_refused() -> None:
    two = FinetuneConfig(num_processes=2)
    made = dataclasses.replace(grid(jobs=2), finetune=two)
    check_grid(made)  # a linear probe takes one
    with pytest.raises(InputError, match="--jobs 2: each training takes 2 processes already .finetune.num"):
        check_grid(dataclasses.replace(made, readout=("linear", "finetune")))


def test_the_grid_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "first.yaml"
    path.write_text(FILE)
    made = read_grid(path)
    assert made.starts == {"plain": ("random",), "mine": ("runs/a",)}
    assert (made.baseline, made.readout, made.fraction) == ("plain", ("linear", "few-shot"), (0.01, 1.0))
    assert (made.settings.data, made.settings.label, made.shots) == ((Path("data/made"),), ("Finding",), (2,))
    assert (made.settings.draws, made.finetune.max_steps, made.output) == (3, 20, tmp_path / "first")
    assert read_grid(path, output=tmp_path / "o", jobs=4).settings.jobs == 4
    path.write_text(FILE.replace("{plain: random, mine: runs/a}", "[random, runs/a]") + "baseline: a\n")
    assert (read_grid(path).starts, read_grid(path).baseline) == ({"random": ("random",), "a": ("runs/a",)}, "a")
    path.write_text(FILE.replace("runs/a", "[runs/a, runs/b]"))
    assert read_grid(path).starts["mine"] == ("runs/a", "runs/b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("a: [", "no YAML"),
        ("- a", "holds no fields"),
        (FILE + "fractions: [1]", "fractions: no such field; did you mean fraction"),
        (FILE.replace("label: Finding", ""), "label: missing"),
        (FILE.replace("draws: 3", "draws: many"), "draws 'many': give a whole number"),
        (FILE.replace("max_steps", "max_step"), "finetune.max_step: no such field; did you mean finetune.max_steps"),
        (
            FILE.replace("few-shot", "fewshot"),
            "readout 'fewshot': give linear or knn or few-shot or finetune",
        ),
        (FILE.replace("{plain: random, mine: runs/a}", "{a: 1}"), "starts: give name: source lines"),
        (FILE.replace("{plain: random, mine: runs/a}", "{}"), "starts: no value"),
        (FILE + "baseline: other", "baseline 'other'"),
    ],
)
def test_bad_files_are_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_grid(path)
