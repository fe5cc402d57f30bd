"""A whole grid on a small packed folder: what it writes, that it goes on where it was, and bad settings."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.finetune.config import PUBLISHED, FinetuneConfig
from eval.grid.config import GridConfig, LinearConfig, Settings
from eval.grid.plan import make_plan
from eval.grid.run import compute_cells, run_grid
from eval.grid.work import CellWorker
from eval.inference.model import load_classifier
from eval.results.file import load_comparison
from eval.study.cells import cell_path, load_cell, stored_cells
from eval.study.starts import build_starts
from eval.words import MACRO
from pipeline.in_order import outputs_in_order
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.build import build_encoder
from train.encoders.saved import load_encoder, save_encoder
from train.encoders.seen import save_seen, seen_in


def config(run: Path, data: Path, output: Path, **fields) -> GridConfig:
    shared = {"draws": 2, "replicates": 200, "device": "cpu", "random_starts": 1, "label": ("sick",)}
    shared |= fields.pop("settings", {})
    fields = {
        "starts": {"random": ("random",), "pretrained": (str(run),)},
        "baseline": "random",
        "readout": ("linear",),
        "fraction": (0.2, 1.0),
        "shots": (1,),
        **fields,
    }
    return GridConfig(
        settings=Settings(**{"data": (data,), **shared}), output=output, features=output / "features", **fields
    )


def test_a_grid_end_to_end_and_again(
    packed: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = config(
        run_folder,
        packed,
        tmp_path / "out",
        readout=("linear", "knn", "few-shot"),
        settings={"label": ("sick", "well")},
    )
    result = run_grid(grid)
    assert result.readouts == ["linear", "knn", "few-shot"]
    assert len(result.rows) == (2 + 2 + 1) * 2 * 3  # fractions or shots, starts, labels with their mean
    assert result.main_label == MACRO
    assert (result.dataset, result.protocol["test_split"], result.baseline) == ("patches", "test", "random")
    assert result.starts["random"].seeds == [0]
    # A bright patch is plain to any convolution: features must have met their own labels.
    assert all(row.auroc.estimate > 0.95 for row in result.select(readout="linear", fraction=1.0))
    for row in result.rows:
        assert row.auroc.estimate == pytest.approx(np.mean([draw.auroc for draw in row.draws]))
    assert {len(row.draws) for row in result.select(fraction=0.2)} == {2}
    assert result.num_repeated == 0
    assert load_comparison(grid.output) == result
    written = {path.name for path in grid.output.iterdir()}
    assert written == {"results.json", "results.csv", "results.tex", "cells", "features"}
    assert len(stored_cells(grid.output / "cells")) == len(make_plan(grid).tasks) == 2 * (3 + 3 + 2)
    assert not list(grid.output.rglob("*.lock"))

    computed: list[str] = []
    compute = CellWorker.compute
    monkeypatch.setattr(CellWorker, "compute", lambda self, task: computed.append(task.key.name) or compute(self, task))
    gone = make_plan(grid).tasks[4]
    cell_path(grid.output / "cells", gone.key).unlink()
    again = run_grid(grid)
    assert computed == [gone.key.name]
    for old, new in zip(result.rows, again.rows, strict=True):
        assert (old.auroc, old.difference) == (new.auroc, new.difference)

    computed.clear()
    fewer = dataclasses.replace(grid, settings=dataclasses.replace(grid.settings, label=("sick",)), readout=("knn",))
    run_grid(fewer)
    assert len(computed) == 6  # of other labels, so other cells


def test_probes_are_kept_also_where_they_were_computed_before(packed: Path, run_folder: Path, tmp_path: Path) -> None:
    seen, loaded = seen_in(ShardIndex.open(packed).where(split="train")), load_encoder(run_folder)
    about = save_seen(run_folder, seen)
    save_encoder(run_folder / "encoder.safetensors", loaded.encoder, name=loaded.name, views=loaded.views, **about)
    starts = {"random": ("random",), "pretrained": (str(run_folder),)}
    grid = config(run_folder, packed, tmp_path / "out", starts=starts, fraction=(1.0,))
    grid = dataclasses.replace(grid, layers=(3, 4))
    run_grid(grid)
    folder = tmp_path / "out" / "cells" / "linear" / "pretrained" / "1-draw0.run"
    assert not folder.exists()
    keeping = dataclasses.replace(grid, linear=LinearConfig(keep_model=True))
    run_grid(keeping)
    kept = load_classifier(folder)
    assert kept.encoder is not None
    assert (kept.labels, kept.readout, kept.encoder.layers) == (("sick",), "linear", (3, 4))
    assert (kept.image.format, kept.trained["datasets"]) == ("png", ["patches"])
    assert [each.parent.name for each in keeping.output.rglob("head.safetensors")] == ["1-draw0.run"], (
        "of no random start"
    )
    task = next(each for each in make_plan(keeping).tasks if each.key.start == "pretrained")
    cell = load_cell(keeping.output / "cells", task.key, fingerprint=task.fingerprint)
    assert cell is not None
    index = ShardIndex.open(packed)
    logits = outputs_in_order(kept.network, index.take(index.positions(cell.test_rows)), kept.views).values
    np.testing.assert_allclose(logits, cell.scores, atol=1e-3)
    np.testing.assert_array_equal(kept.calibration.logits, cell.valid_scores)
    again = build_starts({"kept": (str(folder),)})["kept"].encoders[0].seen
    assert (again.images.tolist(), again.splits) == (seen.images.tolist(), seen.splits), "as of the run"
    (folder / "head.safetensors").unlink()
    run_grid(keeping)
    assert load_classifier(folder).calibration.temperatures == kept.calibration.temperatures


def test_the_same_encoder_as_the_random_start_differs_by_nothing(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, build_encoder("resnet18", seed=0), name="resnet18", views=ViewSpec(size=32))
    result = run_grid(config(path, packed, tmp_path / "out", fraction=(0.2,)))
    (row,) = result.select(start="pretrained")
    assert row.difference is not None
    assert dataclasses.astuple(row.difference.auroc) == (0.0, 0.0, 0.0)
    assert row.difference.verdict(0.95) == "unclear"


@pytest.mark.slow
def test_a_start_of_several_runs_is_their_mean(packed: Path, tmp_path: Path) -> None:
    runs = [tmp_path / name / "encoder.safetensors" for name in ("a", "b")]
    for seed, path in enumerate(runs):
        path.parent.mkdir()
        save_encoder(path, build_encoder("resnet18", seed=seed), name="resnet18", views=ViewSpec(size=32))
    starts = {"random": ("random",), "pretrained": tuple(map(str, runs))}
    grid = config(runs[0], packed, tmp_path / "out", starts=starts, fraction=(0.2,), settings={"random_starts": 2})
    result = run_grid(grid)
    random, pretrained = result.rows
    assert pretrained.auroc == random.auroc  # of the same two encoders
    assert [draw.auroc for draw in pretrained.draws] == [draw.auroc for draw in random.draws]
    assert len(pretrained.draws[0].auroc) == 2
    assert result.starts["pretrained"].sources == [str(path) for path in runs]
    assert result.starts["pretrained"].hashes == result.starts["random"].hashes


def test_a_cell_that_another_computes_is_waited_for(
    packed: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(config(run_folder, packed, tmp_path / "out", fraction=(1.0,)))
    compute_cells(plan)
    path = cell_path(plan.cells, plan.tasks[0].key)
    moved, lock = path.with_suffix(".elsewhere"), path.with_name(f"{path.name}.lock")
    path.rename(moved)
    lock.write_text("held")

    def another_finishes() -> None:
        moved.rename(path)
        lock.unlink()

    monkeypatch.setattr("eval.grid.run.pause", another_finishes)
    monkeypatch.setattr(CellWorker, "compute", lambda *_: pytest.fail("computed twice"))
    compute_cells(plan)


def test_published_settings_where_nothing_else_is_asked_for(run_folder: Path, packed: Path, tmp_path: Path) -> None:
    asked = FinetuneConfig(batch_size=8)
    grid = config(run_folder, packed, tmp_path, finetune=asked, settings={"protocol": "published"})
    settings = grid.settings_of("finetune")
    assert settings.batch_size == 8
    assert settings.lr == PUBLISHED["lr"]
    assert settings.average == 10
    assert config(run_folder, packed, tmp_path, finetune=asked).settings_of("finetune") == asked


@pytest.mark.slow
def test_two_processes_fine_tune_and_give_the_figures_of_one(packed: Path, run_folder: Path, tmp_path: Path) -> None:
    fields = {
        "readout": ("linear", "finetune"),
        "fraction": (0.2,),
        "finetune": FinetuneConfig(max_steps=3, validations=1, batch_size=8),
    }
    one = run_grid(config(run_folder, packed, tmp_path / "one", **fields))
    two = run_grid(config(run_folder, packed, tmp_path / "two", **fields, settings={"jobs": 2}))
    for old, new in zip(one.rows, two.rows, strict=True):
        assert old.auroc.estimate == pytest.approx(new.auroc.estimate, abs=0.02)
    assert not list((tmp_path / "two").rglob("*.run"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"settings": {"label": ("Nonsense",)}}, "label 'Nonsense'.*known: sick, well"),
        ({"settings": {"test_split": "valid"}}, "split 'valid'.*no image"),
        ({"settings": {"test_split": "train"}}, "--test-split train"),
        ({"settings": {"view": "lateral"}}, "view 'lateral'"),
        ({"settings": {"data": (Path("nowhere"),)}}, "nowhere"),
        ({"settings": {"draws": 100}}, "--draws 100.*fewer than draws"),
        ({"starts": {"random": ("nowhere/encoder.safetensors",)}}, "start random nowhere.*no such file or run folder"),
        ({"starts": {"random": ("random",)}}, "architecture: not given"),
        ({"starts": {"random": ("random",)}, "architecture": "resnet18"}, "size: not given"),
        ({"starts": {"random": ("random",)}, "architecture": "nonsense", "size": 32}, "nonsense"),
        ({"readout": ("few-shot",), "shots": (500,)}, "--shots 500"),
        ({"finetune": FinetuneConfig(lr=-1)}, "finetune.lr"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_computed(
    packed: Path, run_folder: Path, tmp_path: Path, fields: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_grid(config(run_folder, packed, tmp_path / "out", **fields))
    assert not (tmp_path / "out").exists()
