"""Shards that are missing, empty, cut off or not files: one line of every engine, before the run and in it."""

import shutil
from dataclasses import replace

import pytest
from torch.utils.data import DataLoader

from pipeline.engines.samples import DamagedSample
from pipeline.loader import build_loader
from pipeline.torch_dataset import LoaderDataset
from pipeline.views import PRESETS
from shards import open_shards
from shards.base.errors import InputError
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0))
ENGINES = ["kornia", "dali", "resident"]


@pytest.fixture
def copied(tiny_dataset, tmp_path):
    return ShardIndex.open(shutil.copytree(tiny_dataset, tmp_path / "copy", ignore=shutil.ignore_patterns("source")))


def last_shard(index):
    return index.place(int(index.rows[-1])).tar


def load(index, engine, *, before=None, checksums=True, **settings):
    """Rows of an epoch in order, through ``torch.utils.data``; ``before`` is called when the loader stands."""
    settings = {"batch_size": 8, "num_views": 1, "num_threads": 2, "shuffle": "none", "last": "short"} | settings
    with build_loader(index, SPEC, engine=engine, checksums=checksums, **settings) as loader:
        if before is not None:
            before()
        rows = [row for batch in DataLoader(LoaderDataset(loader), batch_size=None) for row in batch.rows.tolist()]
        return rows, loader.skipped


def make_empty(tar):
    tar.write_bytes(b"")


def cut_off(tar):
    data = tar.read_bytes()
    tar.write_bytes(data[: len(data) // 2])


def remove(tar):
    tar.unlink()


def make_folder(tar):
    tar.unlink()
    tar.mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (make_empty, "is empty; copy it again, or pack the dataset again"),
        (cut_off, "is cut off, with .* bytes of at least .*; copy it again"),
        (remove, "missing; copy the whole dataset folder, or pack it again"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_shard_is_named_before_the_run(copied, engine, harm, message):
    tar = last_shard(copied)
    harm(tar)
    with pytest.raises(InputError, match=f"shard {tar}: {message}") as caught:
        load(copied, engine)
    assert "\n" not in str(caught.value)
    assert load(copied.take(range(8)), engine)[0] == copied.rows[:8].tolist()  # its other shards are used


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (make_empty, "image .* is cut off, as its shard has 0 bytes only; pack it again or restore the shard"),
        (cut_off, "image .* is cut off, as its shard has .* bytes only"),
        (remove, "shard .*: missing; copy the whole dataset folder"),
        (make_folder, "shard .*: cannot be read .Is a directory."),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_shard_that_goes_bad_in_the_run_is_named(copied, engine, harm, message, checksums):
    tar = last_shard(copied)
    with pytest.raises(InputError, match=message) as caught:
        load(copied, engine, before=lambda: harm(tar), checksums=checksums)
    assert str(tar) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_images_behind_the_end_of_a_shard_can_be_skipped(copied, engine, checksums):
    tar = last_shard(copied)
    cut_off(tar)
    places = {row: copied.place(row) for row in copied.rows.tolist()}
    ends = {row: place.offset + place.length for row, place in places.items() if place.tar == tar}
    gone = [row for row, end in ends.items() if end > tar.stat().st_size]
    rows, skipped = load(copied, engine, on_damage="skip", batch_size=32, checksums=checksums)
    assert sorted(skipped) == gone
    assert set(rows) == set(copied.rows.tolist()) - set(gone)
    with pytest.raises(DamagedSample, match="is cut off"):
        load(copied.take(copied.positions(gone)), engine, on_damage="skip", batch_size=len(gone))


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_more_shards_than_may_be_open(copied, engine, checksums, monkeypatch):
    monkeypatch.setattr(open_shards, "allow_open_files", lambda _: 0)
    monkeypatch.setattr("pipeline.engines.dali.feed.allow_open_files", lambda _: 0)
    assert load(copied, engine, checksums=checksums)[0] == copied.rows.tolist()
