import hashlib
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import get_args, get_type_hints

import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.format.manifest import digest_holds
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, TooManyRejected, build_dataset
from shards.sources.registry import SOURCES
from tests.conftest import ROOT, draw_pattern, write_patterns


@pytest.fixture
def source(tmp_path):
    return write_patterns(tmp_path / "source", {"train": 20, "test": 10})


def config(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 16, "workers": 1, "name": "patterns"}
    return BuildConfig(input=folder, output=output, **(defaults | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_dataset_on_disk(source, tmp_path):
    totals = build_dataset(config(source, tmp_path / "out"))
    assert (totals.num_source, totals.num_packed, totals.num_rejected) == (60, 60, 0)
    names = [
        f"{split}-{i:06d}.{kind}"
        for split, n in (("test", 2), ("train", 3))
        for i in range(n)
        for kind in ("idx", "tar")
    ]
    assert list(contents(tmp_path / "out")) == sorted(["dataset.json", "index.parquet", "rejected.parquet", *names])
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["format_version"] == 1
    assert about["labels"] == ["blob", "clear"]
    assert about["totals"]["images_by_split"] == {"test": 20, "train": 40}
    table = pq.read_table(tmp_path / "out" / "index.parquet")
    assert json.loads(table.schema.metadata[b"labels"]) == ["blob", "clear"]
    assert table.schema.metadata[b"format_version"] == b"1"


def test_the_index_describes_the_bytes(source, tmp_path):
    build_dataset(config(source, tmp_path / "out"))
    index = ShardIndex.open(tmp_path / "out")
    for row, about in zip(index.rows, index.table.to_pylist(), strict=True):
        data = bytes(index.read(row))
        assert zlib.crc32(data) == about["crc32"]
        assert (about["width"], about["height"]) == (54, 48)
        assert (about["source_width"], about["source_height"]) == (72, 64)
        assert about["source_path"].split("/")[0] == about["split"]
    blobs = index.where(shard="train-000000.tar").labels("blob")
    assert 2 <= blobs.sum() <= 14, "rows are permuted within a split"


def test_same_bytes_with_any_number_of_workers_and_from_any_place(source, tmp_path):
    build_dataset(config(source, tmp_path / "one"))
    moved = source.rename(tmp_path / "moved")
    build_dataset(config(moved, tmp_path / "two", workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_seed_changes_the_order_only(source, tmp_path):
    build_dataset(config(source, tmp_path / "one"))
    build_dataset(config(source, tmp_path / "two", seed=1))
    keys = [ShardIndex.open(tmp_path / name).column("key") for name in ("one", "two")]
    assert list(keys[0]) != list(keys[1])
    assert sorted(keys[0]) == sorted(keys[1])


def test_bad_images_are_listed_and_the_build_goes_on(source, tmp_path):
    good = sorted((source / "train" / "blob").glob("*.png"))
    good[0].write_bytes(good[0].read_bytes()[:-200])
    good[1].write_bytes(b"")
    good[2].write_text("this is no image")
    totals = build_dataset(config(source, tmp_path / "out", max_rejected=0.05))
    assert (totals.num_source, totals.num_packed, totals.num_rejected) == (60, 57, 3)
    assert totals.rejected_by_reason == {"damaged": 1, "empty": 1, "not-an-image": 1}
    rejected = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert sorted(row["source_path"] for row in rejected) == [f"train/blob/blob{i:03d}.png" for i in range(3)]
    assert all(row["message"] for row in rejected)


def test_repeating_a_finished_build_changes_nothing(source, tmp_path):
    first = build_dataset(config(source, tmp_path / "out"))
    before = contents(tmp_path / "out")
    assert build_dataset(config(source, tmp_path / "out")) == first
    assert contents(tmp_path / "out") == before


def test_keys_that_would_collide_are_told_apart(tmp_path):
    folder = tmp_path / "source" / "blob"
    folder.mkdir(parents=True)
    for seed, name in enumerate(("a b.png", "a_b.png", "ä.b.png")):
        Image.fromarray(draw_pattern(seed, has_blob=True)).save(folder / name)
    build_dataset(config(tmp_path / "source", tmp_path / "out"))
    keys = ShardIndex.open(tmp_path / "out").column("key")
    assert len(set(keys)) == 3
    assert not any("." in key for key in keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "other"}, "--source 'other': give brax or candid or"),
        ({"source": "chexpert"}, "neither train.csv nor valid.csv"),
        ({"source": "nih"}, "no Data_Entry_2017"),
        ({"source": "shenzhen"}, "no folder CXR_png"),
        ({"shard_images": 0}, "--shard-images 0"),
        ({"workers": 0}, "--workers 0"),
        ({"size": 3}, "--size 3"),
        ({"max_rejected": 1.5}, "--max-rejected 1.5"),
        ({"keep_text": True}, "--keep-text"),
        ({"address": "tcp://here:1"}, "--address tcp://here:1: loky has no cluster"),
    ],
)
def test_wrong_options_are_named(source, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        build_dataset(config(source, tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_missing_and_occupied_folders(source, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        build_dataset(config(tmp_path / "none", tmp_path / "out"))
    with pytest.raises(InputError, match="not a dataset"):
        build_dataset(config(source, source))
    with pytest.raises(InputError, match="packed: lies in the folder of --input; give a folder outside it"):
        build_dataset(config(source, source / "packed"))
    build_dataset(config(source, tmp_path / "out"))
    with pytest.raises(InputError, match="again: lies in the packed dataset"):
        build_dataset(config(source, tmp_path / "out" / "again"))
    with pytest.raises(InputError, match="was packed with --size 48, not 40;"):
        build_dataset(config(source, tmp_path / "out", size=40))
    (source / "train" / "blob" / "more.png").write_bytes(b"more")
    with pytest.raises(InputError, match="the source .* has changed"):
        build_dataset(config(source, tmp_path / "out"))


def test_nothing_to_pack(tmp_path):
    (tmp_path / "source" / "blob").mkdir(parents=True)
    with pytest.raises(InputError, match="no images"):
        build_dataset(config(tmp_path / "source", tmp_path / "out"))
    (tmp_path / "source" / "blob" / "a.png").write_text("no image")
    with pytest.raises(TooManyRejected, match="none of its 1 images could be packed; first: blob/a.png"):
        build_dataset(config(tmp_path / "source", tmp_path / "out", max_rejected=1.0))
    with pytest.raises(InputError, match="did not finish"):
        ShardIndex.open(tmp_path / "out")


def test_too_many_rejections_fail_the_build_and_keep_its_work(source, tmp_path, monkeypatch):
    import shards.packing.build

    for path in sorted((source / "train" / "blob").glob("*.png"))[:3]:
        path.write_bytes(b"")
    with pytest.raises(TooManyRejected, match=r"3 of 60 images \(5.00%\) were rejected \(empty 3\)"):
        build_dataset(config(source, tmp_path / "out", max_rejected=0.049))
    assert len(pq.read_table(tmp_path / "out" / "rejected.parquet")) == 3
    with pytest.raises(InputError, match="did not finish"):
        ShardIndex.open(tmp_path / "out")
    monkeypatch.setattr(shards.packing.build, "write_shard", None)  # nothing is packed again
    assert build_dataset(config(source, tmp_path / "out", max_rejected=0.05)).num_packed == 57
    assert not (tmp_path / "out" / ".build").exists()


def test_a_shard_without_images_leaves_no_tar(source, tmp_path):
    for path in (source / "test").rglob("*.png"):
        path.write_text("no image")
    totals = build_dataset(config(source, tmp_path / "out", max_rejected=0.5))
    assert (totals.num_packed, totals.num_rejected) == (40, 20)
    assert not list((tmp_path / "out").glob("test-*"))


def test_every_file_has_its_checksum(source, tmp_path):
    build_dataset(config(source, tmp_path / "out"))
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    found = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents(tmp_path / "out").items()
        if name != "dataset.json"
    }
    assert about["files"] == found
    assert digest_holds(tmp_path / "out")


def test_missing_and_unreadable_files_are_rejected(source, tmp_path):
    names = [f"train/blob/blob{number:03d}.png" for number in range(3)]
    for name in names:
        (source / name).unlink()
    (source / names[0]).symlink_to("nowhere.png")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (source / names[1]).symlink_to(tmp_path / "secret.png")
    (source / names[2]).symlink_to("blob002.png")  # to itself
    totals = build_dataset(config(source, tmp_path / "out", max_rejected=0.1))
    assert totals.rejected_by_reason == {"bad-path": 1, "missing": 1, "unreadable": 1}
    assert (totals.num_source, totals.num_packed) == (60, 57)


def test_source_names_are_those_of_the_option():
    assert sorted(get_args(get_type_hints(BuildConfig)["source"])) == sorted(SOURCES)


def test_command_line_shows_one_line_for_a_mistake(tmp_path):
    command = [
        sys.executable,
        "-m",
        "shards",
        "build",
        "--source",
        "nih",
        "--input",
        str(tmp_path / "none"),
        "--output",
        "x",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        f"error: --input {tmp_path / 'none'}: no such folder or zip; give the folder that holds the release, or its zip"
    ]


def test_real_nih_and_kermany(real_data, tmp_path):
    totals = build_dataset(BuildConfig(source="nih", input=real_data / "nih", output=tmp_path / "nih", size=64))
    assert (totals.num_packed, totals.num_rejected, totals.num_patients) == (716, 0, 482)
    index = ShardIndex.open(tmp_path / "nih")
    assert index.where(split="train").labels("Effusion").sum() == 56
    assert index.where(split="test").labels("Effusion").sum() == 18
