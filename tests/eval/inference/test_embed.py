"""Features of encoders: those that an evaluation has, as a table and as an array."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from eval.inference.config import EmbedConfig
from eval.inference.embed import embedded, run_embed
from eval.study.features import extract_features
from shards.base.errors import InputError
from shards.images.store import ImageSpec
from shards.index import ShardIndex
from tests.eval.foreign.conftest import dino
from tests.eval.inference.conftest import IMAGE, NUM_IMAGES, VIEWS
from tests.train.export.hub import serving
from train.encoders.saved import load_encoder, save_encoder
from train.export.hub_folder import write_encoder_folder

__all__ = ["dino"]


def config(model: object, *inputs: Path, **settings: object) -> EmbedConfig:
    return EmbedConfig(model=str(model), input=tuple(map(str, inputs)), device="cpu", workers=1, **settings)


def test_features_are_those_of_an_evaluation(model: Path, dicoms: Path, dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "features.parquet"
    notes = run_embed(config(model, dataset, dicoms), output)
    table = pq.read_table(output)
    values = np.array(table["features"].to_pylist(), dtype=np.float32)
    index = ShardIndex.open(dataset)
    wanted = extract_features(load_encoder(model).encoder, index, VIEWS)
    np.testing.assert_allclose(values[:NUM_IMAGES], wanted, atol=1e-5)
    assert table["key"].to_pylist()[:NUM_IMAGES] == list(index.column("key"))
    by_path = dict(zip(table["path"].to_pylist()[:NUM_IMAGES], wanted, strict=True))
    for path, row in zip(table["path"].to_pylist()[NUM_IMAGES:], values[NUM_IMAGES:], strict=True):
        np.testing.assert_allclose(row, by_path[path], atol=1e-5)
    assert notes[0] == f"{2 * NUM_IMAGES} images were read"
    around = embedded(config(model.parent, dataset), None)
    assert around["features"].to_pylist() == table["features"].to_pylist()[:NUM_IMAGES]


def test_an_array_goes_with_a_table_of_keys(model: Path, mixed: Path, tmp_path: Path) -> None:
    run_embed(config(model, mixed, layers=(2, 4)), tmp_path / "features.npy")
    values = np.load(tmp_path / "features.npy")
    keys = pyarrow.csv.read_csv(tmp_path / "features.keys.csv").to_pylist()
    assert values.shape == (3, 128 + 512)
    assert sorted(row["row"] for row in keys if row["row"] is not None) == [0, 1, 2]
    refused = {"cut.png", "ct.dcm", "flat.png", "named.dcm", "report.dcm"}
    assert {row["path"] for row in keys if row["row"] is None} == refused
    both = embedded(config(model, mixed, layers=(2, 4)), tmp_path / "again.npy")
    assert len(both) == len(keys)
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), values)
    assert (tmp_path / "again.keys.csv").read_text() == (tmp_path / "features.keys.csv").read_text()
    table = embedded(config(model, mixed), None).to_pylist()
    assert [row["key"] for row in table] == [row["key"] for row in keys]
    for row, each in zip(keys, table, strict=True):
        assert (each["features"] is None) == (row["row"] is None)
        if row["row"] is not None:
            np.testing.assert_allclose(values[row["row"], 128:], each["features"], atol=1e-5)


def test_models_of_others_and_encoders_that_do_not_say_how_images_are_stored(
    model: Path, dino: Path, dicoms: Path, tmp_path: Path
) -> None:
    table = embedded(config(f"hf:{dino}", dicoms), None)
    assert np.isfinite(np.array(table["features"].to_pylist())).all()
    assert table["features"].type.list_size == 16
    assert f'"size": {ImageSpec().size}' in table.schema.metadata[b"moco_cxr"].decode()
    loaded = load_encoder(model)
    assert loaded.metadata["image"]["size"] == IMAGE.size
    save_encoder(tmp_path / "encoder.safetensors", loaded.encoder, name=loaded.name, views=loaded.views)
    other = embedded(config(tmp_path / "encoder.safetensors", dicoms), None)
    assert '"size": 320' in other.schema.metadata[b"moco_cxr"].decode()


def test_an_exported_encoder_says_how_images_are_stored(
    model: Path, dicoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its folder, and from the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    write_encoder_folder(load_encoder(model), tmp_path / "hub", card="")
    wanted = embedded(config(model, dicoms), None)
    assert f'"size": {IMAGE.size}' in wanted.schema.metadata[b"moco_cxr"].decode()
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.files["ward/cxr"] = {path.name: path.read_bytes() for path in (tmp_path / "hub").iterdir()}
        for source in (tmp_path / "hub", "hub:ward/cxr"):
            found = embedded(config(source, dicoms), None)
            assert f'"size": {IMAGE.size}' in found.schema.metadata[b"moco_cxr"].decode()
            assert found["features"].equals(wanted["features"])


def test_mistakes_are_one_line(model: Path, dicoms: Path, tmp_path: Path) -> None:
    for message, call in {
        r"--output .*\.csv: .*ends in \.parquet or \.npy": lambda: run_embed(config(model, dicoms), tmp_path / "a.csv"),
        "features.layers 9: resnet18 has the layers": lambda: embedded(config(model, dicoms, layers=(9,)), None),
        "start imagenet: does not say of which architecture": lambda: embedded(config("imagenet", dicoms), None),
        "--model absent: no such file or run folder; give one, or one of random, imagenet, ": lambda: embedded(
            config("absent", dicoms), None
        ),
    }.items():
        with pytest.raises(InputError, match=message):
            call()
