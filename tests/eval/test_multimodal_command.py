"""``python -m eval multimodal``: from a dataset with indications to results, tables and page."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.__main__ import main
from eval.report.page import write_page
from eval.results.file import load_comparison
from eval.words import MACRO, MICRO, NO_IMAGE
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.shards.sealed import seal

TINY = ["--multimodal.layers", 1, "--multimodal.width", 16, "--multimodal.heads", 2, "--multimodal.vocabulary", 100]
TINY += ["--multimodal.image-tokens", 1, "--multimodal.max-tokens", 6, "--multimodal.min-steps", 2]
TINY += ["--multimodal.max-steps", 2, "--multimodal.validations", 1]
SHARED = ["--label", "all", "--replicates", 100, "--random-starts", 1, "--device", "cpu", "--fraction", 1]


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "multimodal", *map(str, words)])
    main()


@pytest.fixture
def with_texts(packed: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(packed, tmp_path / "patches"))
    table = pq.read_table(folder / "index.parquet")
    random = np.random.default_rng(0)
    texts = [None if number % 9 == 0 else str(random.choice(["cough", "fall"])) for number in range(len(table))]
    pq.write_table(table.append_column("indication", pa.array(texts, pa.string())), folder / "index.parquet")
    return seal(folder)


@pytest.mark.slow
def test_results_of_all_inputs(
    with_texts: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    call(monkeypatch, "--run", run_folder, "--data", with_texts, *SHARED, *TINY)
    folder = run_folder / "eval" / "multimodal-patches-all"
    result = load_comparison(folder)
    assert result.labels == list(ShardIndex.open(with_texts).label_names)
    assert result.readouts == ["multimodal", "multimodal-image", "multimodal-text"]
    assert list(result.starts) == ["random", "pretrained", NO_IMAGE]
    assert {row.start for row in result.select(readout="multimodal-text")} == {NO_IMAGE}
    assert {MACRO, MICRO} <= {row.label for row in result.rows}
    assert len(result.inputs) == (1 + len(result.labels)) * 2 * 2  # starts, and what is alone
    (cell,) = next(result.select(readout="multimodal", start="pretrained")).draws[0].details["cells"]
    assert cell["texts"]["test"]["num_empty"] == sum(
        text is None for text in ShardIndex.open(with_texts).where(split="test").column("indication")
    )
    printed = capsys.readouterr().out
    assert "AUROC of the classifier of image and indication on" in printed
    assert "minus that of one input alone" in printed
    page = write_page(folder, with_images=False).read_text()
    assert "What each input adds" in page
    num_empty = cell["texts"]["test"]["num_empty"]
    assert f"Of 60 test texts {num_empty} are empty or missing, 0 were cut, 0 are mostly of unknown words." in page
    assert "none from" not in page


@pytest.mark.slow
def test_in_folds(with_texts: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is tested in one of the folds, and the page counts them all."""
    words = ["--run", run_folder, "--data", with_texts, *SHARED, *TINY, "--inputs", "both", "text", "--against"]
    words += ["--output", run_folder.parent / "out", "--protocol", "cross-validated", "--folds", 2]
    call(monkeypatch, *words)
    result = load_comparison(run_folder.parent / "out")
    assert {MACRO, MICRO} <= {row.label for row in result.rows}
    assert {each.num_images for each in result.test.values()} == {180}
    num_empty = sum(text is None for text in ShardIndex.open(with_texts).column("indication"))
    page = write_page(run_folder.parent / "out", with_images=False).read_text()
    assert f"Of 180 test texts {num_empty} are empty or missing, 0 were cut" in page


def test_inputs_can_be_chosen(with_texts: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = run_folder.parent / "out"
    words = ["--run", run_folder, "--data", with_texts, *SHARED, *TINY, "--inputs", "image", "--output", output]
    call(monkeypatch, *words)
    result = load_comparison(output)
    assert (result.readouts, result.inputs, list(result.starts)) == (["multimodal-image"], [], ["random", "pretrained"])


def test_without_indications_it_is_refused_at_once(
    packed: Path, with_texts: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no column 'indication'.*--reports"):
        call(monkeypatch, "--run", run_folder, "--data", packed, *SHARED, *TINY)
    table = pq.read_table(with_texts / "index.parquet")
    place = table.column_names.index("indication")
    empty = table.set_column(place, "indication", pa.array([" "] * len(table), pa.string()))
    pq.write_table(empty, with_texts / "index.parquet")
    seal(with_texts)
    with pytest.raises(InputError, match="none of the .* training images has an indication.*--inputs image"):
        call(monkeypatch, "--run", run_folder, "--data", with_texts, *SHARED, *TINY)
    assert not (run_folder / "eval").exists()
