"""A cross-validated comparison from the command line to the page: figures against a computation by hand, folds that are
the same for all encoders, and cells that are kept."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from eval.__main__ import main
from eval.grid.work import CellWorker
from eval.report.evidence import Evidence
from eval.report.page import write_page
from eval.report.strips import saliency_cases
from eval.report.tables import markdown_tables
from eval.results.file import load_comparison
from eval.results.headline import headline
from eval.results.roc import cells_of
from eval.study.cells import load_cell, stored_cells
from eval.study.features import extract_features
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder
from train.encoders.seen import save_seen, seen_in

FOLDS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 patients with two or three images each, a third of them with a patch that can hardly be told from noise."""
    root = tmp_path_factory.mktemp("folds")
    generator, lines = np.random.default_rng(0), ["path,patient,split,sick"]
    for patient in range(50):
        for image in range(2 + patient % 2):
            pixels = generator.integers(60, 120, size=(32, 40))
            if patient % 3 == 0:
                pixels[8:20, 8:20] += 8
            name = f"{patient}-{image}.png"
            (root / "source").mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / "source" / name)
            lines.append(f"{name},p{patient},{'test' if patient > 40 else 'train'},{int(patient % 3 == 0)}")
    (root / "source" / "labels.csv").write_text("\n".join(lines) + "\n")
    options = SourceOptions(
        csv=root / "source" / "labels.csv",
        path_column="path",
        patient_column="patient",
        split_column="split",
        label_columns=("sick",),
    )
    config = BuildConfig(source="table", input=root / "source", output=root / "faint", format="png", workers=1)
    build_dataset(dataclasses.replace(config, name="faint", source_options=options))
    return root / "faint"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", *map(str, arguments)])
    main()


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that saw the images of the split train."""
    folder = tmp_path_factory.mktemp("run")
    views, seen = ViewSpec(size=32, mean=0.4, std=0.2), seen_in(ShardIndex.open(data).where(split="train"))
    encoder, about = build_encoder("resnet18", seed=7), save_seen(folder, seen)
    save_encoder(folder / "encoder.safetensors", encoder, name="resnet18", views=views, **about)
    return folder


@pytest.fixture(scope="module")
def compared(data: Path, run: Path) -> Path:
    """The folder of a grid in three folds of two readouts, two fractions and two starts."""
    file = run / "grid.yaml"
    file.write_text(
        f"data: {data}\nlabel: sick\nprotocol: cross-validated\nfolds: {FOLDS}\nreplicates: 200\ndraws: 2\n"
        f"starts: {{random: random, pretrained: {run}}}\nrandom_starts: 2\n"
        "readout: [linear, knn]\nfraction: [0.5, 1]\ndevice: cpu\n"
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        call(monkeypatch, "grid", file)
    return run / "grid"


def test_figures_are_those_of_a_computation_by_hand(data: Path, compared: Path) -> None:
    comparison, index = load_comparison(compared), ShardIndex.open(data)
    features = extract_features(build_encoder("resnet18", seed=7), index, ViewSpec(size=32, mean=0.4, std=0.2))
    labels, patients, cells = index.labels("sick"), index.column("patient_id"), []
    for key in stored_cells(compared / "cells"):
        if (key.readout, key.start, key.fraction) == ("linear", "pretrained", 1.0):
            cells.append(load_cell(compared / "cells", key))
    assert [cell.key.fold for cell in cells] == [1, 2, 3]
    total, weight, tested = 0.0, 0.0, []
    for cell in cells:
        learnt = np.setdiff1d(index.rows, np.concatenate([cell.test_rows, cell.valid_rows]))
        assert not set(patients[learnt]) & set(patients[cell.test_rows])
        scaler = StandardScaler().fit(features[learnt])
        model = LogisticRegression(C=cell.details["strength"], max_iter=10_000, tol=1e-8)
        model.fit(scaler.transform(features[learnt]), labels[learnt])
        scores = model.decision_function(scaler.transform(features[cell.test_rows]))
        np.testing.assert_allclose(cell.scores[:, 0], scores, atol=2e-3)
        # Studies are images here, each its own.
        total += labels[cell.test_rows].sum() * roc_auc_score(labels[cell.test_rows], scores)
        weight += labels[cell.test_rows].sum()
        tested.append(cell.test_rows)
    assert sorted(np.concatenate(tested)) == index.rows.tolist()
    (row,) = comparison.select(readout="linear", fraction=1.0, start="pretrained")
    assert row.auroc.estimate == pytest.approx(total / weight, abs=1e-3)
    assert 0.5 < row.auroc.low < row.auroc.estimate < row.auroc.high < 1
    assert comparison.test["sick"].num_images == comparison.test["sick"].num_studies == len(index)


def test_folds_are_the_same_for_all_encoders_and_readouts(compared: Path) -> None:
    cells = [load_cell(compared / "cells", key) for key in stored_cells(compared / "cells")]
    assert len(cells) == 2 * 3 * FOLDS * 3  # readouts, encoders, folds, draws
    for fold in range(1, FOLDS + 1):
        of_fold = [cell for cell in cells if cell is not None and cell.key.fold == fold]
        assert len({cell.test_rows.tobytes() for cell in of_fold}) == 1
        for fraction, draw in ((0.5, 0), (0.5, 1), (1.0, 0)):
            same = [cell for cell in of_fold if (cell.key.fraction, cell.key.draw) == (fraction, draw)]
            assert len({cell.details["draw_hash"] for cell in same}) == 1


def test_tables_say_how_it_was_tested_and_what_pretraining_saw(data: Path, compared: Path) -> None:
    comparison, index = load_comparison(compared), ShardIndex.open(data)
    text = markdown_tables([comparison])
    assert "on 125 cross-validated studies (42 positive) of 50 patients, 3 folds" in text
    assert "Cross-validated in 3 folds of patients: every image is scored once" in text
    assert "Mean over up to 2 draws" in text
    seen = len(index.where(split="train"))
    assert f"pretraining of pretrained saw {seen:,} of the {len(index):,}" in text
    (row,) = comparison.select(readout="linear", fraction=1.0, start="pretrained")
    (draw,) = row.draws
    assert 0.55 * len(index) < draw.num_images < 2 / 3 * len(index)  # less a tenth for validation
    assert [fold["fold"] for fold in draw.details["cells"][0]["folds"]] == [1, 2, 3]


def test_a_lost_fold_is_computed_anew_and_nothing_else(
    compared: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_comparison(compared)
    lost = compared / "cells" / "knn" / "random-1" / "0.5-draw1-fold2.npz"
    lost.unlink()
    computed: list[str] = []
    compute = CellWorker.compute
    monkeypatch.setattr(CellWorker, "compute", lambda self, task: computed.append(task.key.name) or compute(self, task))
    call(monkeypatch, "grid", run / "grid.yaml")
    assert computed == ["knn/random-1/0.5-draw1-fold2"]
    for old, new in zip(before.rows, load_comparison(compared).rows, strict=True):
        assert (old.auroc, old.difference, old.sensitivity) == (new.auroc, new.difference, new.sensitivity)


def test_the_page_shows_folds_as_one_and_looks_where_one_fold_looks(data: Path, compared: Path) -> None:
    comparison = load_comparison(compared)
    page = write_page(compared, with_images=False).read_text()
    assert "3 folds of all splits" in page
    assert "Not shown: " not in page
    evidence = Evidence(compared, comparison, headline(comparison), max_images=1000, device="cpu", seed=0)
    assert evidence.test.rows.tolist() == ShardIndex.open(data).rows.tolist()
    cells = list(cells_of(compared, comparison, "random", readout="knn", fraction=0.5))
    assert [(cell.key.start, cell.key.draw) for cell in cells] == [(f"random-{i}", d) for i in (0, 1) for d in (0, 1)]
    assert ", fold 1. Random images" in saliency_cases(evidence).about


def test_fine_tuning_in_folds(data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    asked = ["--data", data, "--label", "sick", "--protocol", "cross-validated", "--folds", 2, "--replicates", 100]
    asked += ["--device", "cpu", "--finetune.max-steps", 2, "--finetune.min-steps", 0, "--finetune.validations", 1]
    call(monkeypatch, "finetune", "--run", run, *asked, "--fraction", 1, "--output", tmp_path, "--against")
    (row,) = load_comparison(tmp_path).rows
    assert len(row.draws[0].details["cells"][0]["folds"]) == 2
    assert "fine-tuning on 125 cross-validated studies" in capsys.readouterr().out
    assert not list((tmp_path / "cells").rglob("*.run"))


def test_draws_have_no_folds(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["--data", data, "--label", "sick", "--protocol", "cross-validated", "--output", tmp_path / "d.parquet"]
    with pytest.raises(InputError, match="--protocol cross-validated: draws are taken within each fold"):
        call(monkeypatch, "draws", "export", *asked)
