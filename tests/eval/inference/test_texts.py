"""Texts of a list, of a dataset, and of nobody; and a classifier that reads them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.inference.config import PredictConfig
from eval.inference.images import Given
from eval.inference.predict import Predictions, predicted
from eval.inference.texts import ImageTexts
from eval.training.task import TrainingTask
from shards.base.errors import InputError
from tests.eval.multimodal.conftest import SHORT, Run, dataset, resnet, run, start, task
from train.encoders.saved import LoadedEncoder

__all__ = ["dataset", "resnet", "run", "start", "task"]
COLUMNS = {"path_column": "path", "text_column": "indication"}


def given(path: str, *, key: str = "k", text: str | None = None) -> Given:
    return Given(source="in", key=key, path=path, stored=b"", text=text)


def test_texts_are_found_by_path_or_key(tmp_path: Path) -> None:
    (tmp_path / "ä.csv").write_text("path;indication\na/b.dcm;cough\nkey-2;fall\nc.dcm;\n", encoding="utf-16")
    texts = ImageTexts(tmp_path / "ä.csv", **COLUMNS)
    found = [
        texts.of(given("a/b.dcm")),
        texts.of(given("x", key="key-2")),
        texts.of(given("c.dcm")),
        texts.of(given("d")),
    ]
    assert (found, texts.num_without) == (["cough", "fall", "", None], 2)
    own = ImageTexts(None, **COLUMNS)
    assert (own.of(given("a", text="old")), own.of(given("a")), own.num_without) == ("old", None, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; give a list with the columns path, indication"),
        ("path,text\na,b\n", "column 'indication' is missing"),
        ("path,indication\na,b\na,c\n", "names a twice, with two texts"),
        ("path,indication\na,b,c\n", "mend the list"),
        ("path,indication\n", "has no rows"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "list.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        ImageTexts(tmp_path / "list.csv", **COLUMNS)


@pytest.mark.slow
def test_a_classifier_of_images_and_texts(
    run: Run, resnet: LoadedEncoder, task: TrainingTask, dataset: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(SHORT, image_tokens=1, keep_model=True, max_steps=1, min_steps=1)
    result = run(config, start=resnet)
    common = {"model": tmp_path / "cell", "device": "cpu", "workers": 1, "batch_size": 16}
    predictions = Predictions(PredictConfig(input=(str(dataset),), **common))
    rows = {row["key"]: row for batch in predictions.batches() for row in batch.to_pylist()}
    keys = task.index.column("key")[task.test_rows]
    wanted = predictions.kept.calibration.probabilities(result.test_scores)
    np.testing.assert_allclose([rows[key]["both"] for key in keys], wanted[:, 0], atol=2e-3)
    assert "images have no text" in "\n".join(predictions.notes())

    source = dataset.parent / "source" / "test" / "bright"
    with pytest.raises(InputError, match="--texts: not given, but the model reads indications; give a list"):
        predicted(PredictConfig(input=(str(source),), **common), None)
    texts = dict(zip(task.index.column("source_path"), task.index.column("indication"), strict=True))
    listed = [f"{path.name},{texts[f'test/bright/{path.name}'] or ''}" for path in sorted(source.iterdir())]
    (tmp_path / "texts.csv").write_text("\n".join(["file,reason", *listed]))
    columns = {"texts": tmp_path / "texts.csv", "path_column": "file", "text_column": "reason"}
    of_files = predicted(PredictConfig(input=(str(source),), **common, **columns), None).to_pylist()
    by_path = {Path(row["path"]).name: row["both"] for row in rows.values()}
    assert [row["both"] for row in of_files] == pytest.approx([by_path[row["path"]] for row in of_files], abs=2e-3)
    with pytest.raises(InputError, match="--explain: .* reads texts too"):
        predicted(PredictConfig(input=(str(source),), explain=1, **common, **columns), tmp_path / "s.csv")
