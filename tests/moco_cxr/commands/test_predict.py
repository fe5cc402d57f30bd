"""The commands as they are called: what is printed, what is written, and mistakes in one line."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

import moco_cxr
from moco_cxr.commands import embed, predict
from shards.base.errors import InputError
from tests.eval.inference.conftest import LABELS, NUM_IMAGES, dataset, dicoms, model

__all__ = ["dataset", "dicoms", "model"]
HERE = ["--device", "cpu", "--workers", "1"]


def call(monkeypatch: pytest.MonkeyPatch, command: object, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["moco-cxr", *map(str, words)])
    command.main()  # type: ignore[attr-defined]


def test_predictions_and_features_by_command_and_in_a_notebook(
    model: Path,
    dicoms: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    output = tmp_path / "scores.csv"
    files = sorted(dicoms.rglob("bild*"))
    call(monkeypatch, predict, "--model", model, "--input", *files, "--output", output, "--specificity", ".9", *HERE)
    printed = capsys.readouterr()
    assert printed.out == f"written: {output}\n"
    assert f"{NUM_IMAGES} images were read" in printed.err
    written = pyarrow.csv.read_csv(output)
    table = moco_cxr.predict(model, list(map(str, files)), device="cpu", workers=1, specificity=0.9)
    assert table.column_names == written.column_names
    for label in LABELS:
        np.testing.assert_allclose(table[label].to_numpy(), written[label].to_numpy(), atol=1e-6)
    call(monkeypatch, embed, "--model", model, "--input", dataset, "--output", tmp_path / "features.npy", *HERE)
    features = moco_cxr.embed(model, dataset, output=tmp_path / "f.parquet", device="cpu", workers=1)["features"]
    np.testing.assert_allclose(features.to_pylist(), np.load(tmp_path / "features.npy"), atol=1e-5)


def test_mistakes_in_the_command_are_one_line(
    model: Path, dicoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "s.csv"
    for words, message in (
        (["--specificity", "1"], r"--specificity 1\.0: out of range"),
        (["--batch-size", "0"], "--batch-size 0: out of range"),
        (["--workers", "0"], "--workers 0: give a number of processes"),
        (["--input", str(dicoms)], "--input: given twice"),
    ):
        with pytest.raises(InputError, match=message):
            call(monkeypatch, predict, "--model", model, "--input", dicoms, "--output", output, *words)
    with pytest.raises(InputError, match="specifity: no such field; did you mean specificity"):
        moco_cxr.predict(model, dicoms, specifity=0.9)
    assert not output.exists()
