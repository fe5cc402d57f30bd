"""Datasets of 16 bits a pixel: what says so, and who knows it."""

import json

import numpy as np
import pytest
from PIL import Image

from eval.inference.images import GivenImages
from shards.base.errors import InputError
from shards.checks.preview import contact_sheet
from shards.checks.stats import dataset_stats
from shards.checks.stats_text import stats_text
from shards.checks.verify import verify_dataset
from shards.derived import merge_datasets, merge_notes, write_subset
from shards.format.manifest import read_manifest
from shards.images.store import ImageSpec
from shards.index import ShardIndex
from shards.packing.build import build_dataset, plan_dataset
from shards.stored_as import depth_of, image_spec
from tests.conftest import draw_pattern
from tests.shards.builds import config, contents
from tests.shards.sealed import seal


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The datasets of 8 and of 16 bits of one folder, and the folder."""
    folder = tmp_path_factory.mktemp("packed")
    source = folder / "source"
    for number in range(5):
        (source / "train").mkdir(parents=True, exist_ok=True)
        deep = draw_pattern(number, has_blob=True).astype(np.uint16) * 16 + number
        Image.fromarray(deep).save(source / "train" / f"{number}.png")
    for name, depth in (("short", 8), ("deep", 16)):
        build_dataset(config(source, folder / name, depth=depth, name=name, size=64))
    return folder


def test_dataset_and_rows_say_so(packed):
    index = ShardIndex.open(packed / "deep")
    assert read_manifest(packed / "deep")["image"] == {
        "size": 64,
        "square": False,
        "format": "png",
        "quality": 95,
        "depth": 16,
    }
    assert image_spec(index) == ImageSpec(size=64, format="png", depth=16)
    assert (depth_of(index), depth_of(ShardIndex.open(packed / "short"))) == (16, 8)
    assert not set(index.fingerprints) & set(ShardIndex.open(packed / "short").fingerprints)
    again = config(packed / "source", packed / "deep", depth=16, name="deep", size=64)
    assert "64 px PNG of 16 bits" in plan_dataset(again)


def test_a_dataset_of_another_depth_is_not_continued(packed):
    before = contents(packed / "deep")
    settings = {"name": "deep", "size": 64}
    with pytest.raises(InputError, match="was packed with --depth 16, not 8;"):
        build_dataset(config(packed / "source", packed / "deep", format="png", **settings))
    build_dataset(config(packed / "source", packed / "deep", depth=16, **settings))
    assert contents(packed / "deep") == before
    with pytest.raises(InputError, match="--depth 16: JPEG holds 8 bits a pixel; give --format png"):
        build_dataset(config(packed / "source", packed / "new", depth=16, format="jpeg"))


def test_what_was_packed_so_packs_to_the_same_pixels(packed, tmp_path):
    index = ShardIndex.open(packed / "deep")
    (tmp_path / "again" / "train").mkdir(parents=True)
    for row, key in zip(index.rows.tolist(), index.column("key"), strict=True):
        (tmp_path / "again" / "train" / f"{key}.png").write_bytes(index.read(row))
    build_dataset(config(tmp_path / "again", tmp_path / "out", depth=16, size=64))
    again = ShardIndex.open(tmp_path / "out")
    assert sorted(bytes(again.read(row)) for row in again.rows.tolist()) == sorted(
        bytes(index.read(row)) for row in index.rows.tolist()
    )


def test_checks_know_it(packed, tmp_path):
    assert verify_dataset(packed / "deep", workers=1).damages == ()
    index, short = ShardIndex.open(packed / "deep"), ShardIndex.open(packed / "short")
    assert "16 bits a pixel: 5 images" in stats_text(dataset_stats(index))
    assert "16 bits" not in stats_text(dataset_stats(short))
    sheets = [np.asarray(contact_sheet(each, tile=64)).astype(int) for each in (index, short)]
    assert np.abs(sheets[0][30:90] - sheets[1][30:90]).mean() < 3, "the same pictures, but for JPEG"
    write_subset(index.take([0, 2]), tmp_path / "subset", selection={})
    assert verify_dataset(tmp_path / "subset", workers=1).damages == ()
    assert depth_of(ShardIndex.open(tmp_path / "subset")) == 16


def test_verify_finds_images_of_another_depth(packed, tmp_path):
    folder = tmp_path / "wrong"
    folder.mkdir()
    for name, data in contents(packed / "deep").items():
        (folder / name).write_bytes(data)
    about = json.loads((folder / "dataset.json").read_text())
    about["image"]["depth"] = 8
    (folder / "dataset.json").write_text(json.dumps(about))
    seal(folder)
    messages = [damage.message for damage in verify_dataset(folder, workers=1).damages]
    assert any("is PNG of mode I;16, where PNG of mode L, 8-bit gray, belongs" in message for message in messages)


def test_a_merge_with_8_bits_tells(packed, tmp_path):
    merged = merge_datasets([packed / "short", packed / "deep"], tmp_path / "both")
    told = "images of deep have 16 bits a pixel and the others 8; where both are read, pixels of both take two bytes"
    assert told in merge_notes(merged)
    assert not any("16 bits" in note for note in merge_notes(ShardIndex.open(packed / "deep")))
    stats = dataset_stats(merged)
    assert (stats.num_deep, stats.alike.num_groups) == (5, 5), "the same pictures, found again across depths"


def test_inference_tells_of_another_depth(packed):
    given = GivenImages([str(packed / "deep")])
    deep = ImageSpec(size=64, format="png", depth=16)
    assert given.other_specs(deep) == []
    assert given.other_specs(ImageSpec(size=64, format="png")) == [str(packed / "deep")]
