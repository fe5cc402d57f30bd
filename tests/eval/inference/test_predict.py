"""Predictions: the same from files and from what was packed of them, of everything given, and nothing hidden."""

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.special import expit

from eval.classifier.calibration import calibrate
from eval.inference import forward
from eval.inference.config import PredictConfig
from eval.inference.model import load_classifier
from eval.inference.predict import predicted, run_predict
from pipeline.in_order import outputs_in_order
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.eval.inference.conftest import IMAGE, LABELS, NUM_IMAGES, keep


def table_of(model: Path, *inputs: Path, **settings: object) -> list[dict[str, object]]:
    config = PredictConfig(model=model, input=tuple(map(str, inputs)), device="cpu", workers=1, **settings)
    rows: list[dict[str, object]] = predicted(config, None).to_pylist()
    return rows


def test_files_and_the_dataset_that_was_packed_of_them_give_the_same(model: Path, dicoms: Path, dataset: Path) -> None:
    of_files = {row["path"]: row for row in table_of(model, dicoms)}
    of_dataset = {row["path"]: row for row in table_of(model, dataset)}
    assert of_files.keys() == of_dataset.keys()
    assert len(of_files) == NUM_IMAGES
    for path, row in of_files.items():
        found, wanted = ([each[label] for label in LABELS] for each in (row, of_dataset[path]))
        assert found == pytest.approx(wanted, abs=1e-6), row
    assert len({row["Edema"] for row in of_files.values()}) == NUM_IMAGES  # of other images, others
    kept, index = load_classifier(model), ShardIndex.open(dataset)
    logits = outputs_in_order(kept.network, index, kept.views).values.numpy()  # as an evaluation has them
    by_path = dict(zip(index.column("source_path"), kept.calibration.probabilities(logits), strict=True))
    for path, row in of_dataset.items():
        assert [row[label] for label in LABELS] == pytest.approx(by_path[path].tolist(), abs=1e-6)


def test_every_image_is_in_the_output_with_its_reason(model: Path, mixed: Path) -> None:
    rows = {row["path"]: row for row in table_of(model, mixed)}
    reasons = {path: row["refused"] for path, row in rows.items() if row["refused"]}
    assert reasons == {
        "cut.png": "damaged",
        "flat.png": "blank",
        "ct.dcm": "other-modality",
        "named.dcm": "not-an-image",
        "report.dcm": "no-pixels",
    }
    assert rows.keys() - reasons.keys() == {"a.jpg", "a.png", "dicom/bild.dcm"}
    assert all((row["Edema"] is None) == (path in reasons) for path, row in rows.items())
    assert rows["ct.dcm"]["message"] == "DICOM of modality CT, not a radiograph"
    assert rows["report.dcm"]["message"] == "DICOM of Basic Text SR, which holds no image", "by its header alone"
    assert len({row["key"] for row in rows.values()}) == len(rows)  # a.jpg and a.png too
    assert {row["input"] for row in rows.values()} == {str(mixed)}


def test_inputs_of_all_kinds_in_batches_of_any_size(model: Path, dicoms: Path, dataset: Path, mixed: Path) -> None:
    file = next(dicoms.rglob("bild*"))
    one = table_of(model, file, mixed, dataset, batch_size=2)
    other = table_of(model, mixed, dataset, file, batch_size=100)
    assert len(one) == 8 + NUM_IMAGES + 1
    by_place = {(row["input"], row["path"]): row["Edema"] for row in other}
    for row in one:
        found = by_place[row["input"], row["path"]]
        assert row["Edema"] == (None if found is None else pytest.approx(found, abs=1e-6))
    assert (one[-1]["input"], one[-1]["path"]) == (str(file), str(file))


def test_thresholds_and_calibration_are_told(model: Path, dicoms: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "scores.csv"
    config = PredictConfig(model=model, input=(str(dicoms),), specificity=0.9, device="cpu", workers=1)
    notes = "\n".join(run_predict(config, output))
    rows = pyarrow.csv.read_csv(output).to_pylist()
    kept = load_classifier(model)
    edema, effusion = kept.calibration.thresholds(0.9)
    assert effusion is None
    assert edema is not None
    temperature = kept.calibration.temperatures[0]
    assert temperature is not None
    for row in rows:
        assert row["Edema threshold"] == pytest.approx(expit(edema / temperature), rel=1e-5)
        assert row["Edema positive"] == (row["Edema"] > row["Edema threshold"])
        assert row["Pleural Effusion positive"] is None
        assert row["uncalibrated"] == "Pleural Effusion"
    assert "uncalibrated: Pleural Effusion (60 validation images say too little of them)" in notes
    assert "calibrated on 60 validation images" in notes
    assert "Edema: threshold at specificity 0.9: 0." in notes
    assert "Pleural Effusion: threshold at specificity 0.9: none" in notes


def test_without_validation_images_it_says_so(dicoms: Path, tmp_path: Path) -> None:
    kept = keep(tmp_path / "kept", calibrate(np.zeros((0, 2)), np.zeros((0, 2))))
    config = PredictConfig(model=kept, input=(str(dicoms),), device="cpu", workers=1)
    assert "uncalibrated: Edema; Pleural Effusion (no validation images)" in run_predict(config, tmp_path / "s.parquet")
    table = pq.read_table(tmp_path / "s.parquet")
    assert table["uncalibrated"].to_pylist() == ["Edema; Pleural Effusion"] * NUM_IMAGES
    about = json.loads(table.schema.metadata[b"moco_cxr"])
    assert (about["image"]["size"], about["views"]["mean"], about["encoder"]["name"]) == (IMAGE.size, 0.4, "resnet18")
    with pytest.raises(InputError, match=r"^--specificity 0\.9: the model has no validation images"):
        table_of(kept, dicoms, specificity=0.9)


def test_the_images_with_the_highest_probabilities_are_explained(model: Path, dicoms: Path, tmp_path: Path) -> None:
    settings = {"device": "cpu", "workers": 1, "explain": 2}
    config = PredictConfig(model=model, input=(str(dicoms),), explain_label="Edema", **settings)
    rows = predicted(config, tmp_path / "scores.csv").to_pylist()
    best = sorted(rows, key=lambda row: row["Edema"], reverse=True)[:2]
    pictures = sorted((tmp_path / "scores-explained").iterdir())
    assert [path.name for path in pictures] == [
        f"{place:02d}-Edema-{row['Edema']:.3f}-{row['key']}.png" for place, row in enumerate(best, start=1)
    ]
    with Image.open(pictures[0]) as picture:
        assert (picture.size, picture.mode) == ((64, 32), "RGB")
        left, right = np.split(np.asarray(picture), 2, axis=1)
    assert (left == left[..., :1]).all()
    assert (right != left).any()
    with pytest.raises(InputError, match="scores-explained is there already; remove it"):
        predicted(config, tmp_path / "scores.csv")
    inside = dicoms / "out" / "scores.csv"
    with pytest.raises(
        InputError, match=f"--output {inside}: its pictures, scores-explained, would lie in --input {dicoms}"
    ):
        run_predict(config, inside)
    with pytest.raises(InputError, match=r"^--explain-label Nothing: .*give one of Edema, Pleural Effusion"):
        predicted(
            PredictConfig(model=model, input=(str(dicoms),), explain_label="Nothing", **settings), tmp_path / "b.csv"
        )


def test_mistakes_are_told_before_anything_is_written(model: Path, dicoms: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("no image")
    output = tmp_path / "out" / "scores.csv"

    def run(*inputs: Path, to: Path = output, **settings: object) -> None:
        run_predict(PredictConfig(model=model, input=tuple(map(str, inputs)), device="cpu", workers=1, **settings), to)

    for message, call in {
        r"--output .*scores\.xlsx: .*ends in \.csv or \.parquet": lambda: run(dicoms, to=tmp_path / "scores.xlsx"),
        "--input .*absent: no such file or folder": lambda: run(tmp_path / "absent"),
        "--input .*empty: holds no files": lambda: run(empty),
        "--input .*: given twice": lambda: run(dicoms, dicoms),
        "--texts .*: the model reads no texts": lambda: run(dicoms, texts=tmp_path / "list.csv"),
        "--explain-label: of no picture": lambda: run(dicoms, explain_label="Edema"),
    }.items():
        with pytest.raises(InputError, match=message):
            call()
        assert not output.exists()
    with pytest.raises(InputError, match="--input: none of the 1 files is an image"):
        run(texts)
    with pytest.raises(InputError, match=r"none of the 1 images could be read, such as .*a\.txt \(no known image"):
        run(texts / "a.txt")
    assert pyarrow.csv.read_csv(output)["refused"].to_pylist() == ["not-an-image"]


def test_memory_is_that_of_a_few_batches(model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more images are read ahead than two batches, whatever their number."""
    kept, num_read, most = load_classifier(model), 0, 0
    read = forward.GivenImages.read

    def counted(self, *args, **options):
        nonlocal num_read
        for image in read(self, *args, **options):
            num_read += 1
            yield image

    monkeypatch.setattr(forward.GivenImages, "read", counted)
    images = forward.GivenImages([str(dataset)])
    outcomes = forward.through(
        kept.network,
        images,
        image=kept.image,
        views=kept.views,
        device="cpu",
        batch_size=1,
        workers=1,
        title="test",
    )
    for number, outcome in enumerate(outcomes, start=1):
        most = max(most, num_read - number)
        assert outcome.values.shape == (1, 2)
        assert torch.isfinite(torch.from_numpy(outcome.values)).all()
    assert num_read == NUM_IMAGES
    assert most <= 2
