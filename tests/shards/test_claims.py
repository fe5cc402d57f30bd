"""Datasets that lead elsewhere: whole by their checksums, and never followed out of their folder."""

import json
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards import claims
from shards.base.errors import InputError
from shards.checks.stats import dataset_stats
from shards.checks.verify import verify_dataset
from shards.derived import merge_datasets, write_subset
from shards.format import manifest
from shards.format.manifest import write_manifest
from shards.images.refusal import MAX_PIXELS
from shards.index import ShardIndex
from tests.servers import FileServer
from tests.shards.remote.conftest import QUICK, Cache
from tests.shards.sealed import seal

ROW = 70


@pytest.fixture
def copied(tiny_dataset, tmp_path):
    """A copy below a folder that holds a secret."""
    secret = tmp_path / "secret.tar"
    secret.write_bytes(b"secret" * 1000)
    return shutil.copytree(tiny_dataset, tmp_path / "home" / "copy")


def write_column(folder, name, values):
    table = pq.read_table(folder / "index.parquet")
    place = table.column_names.index(name)
    values = values if isinstance(values, pa.Array) else pa.array(values, table.schema.field(name).type)
    pq.write_table(table.set_column(place, name, values), folder / "index.parquet")
    return seal(folder)


def write_row(folder, name, value):
    """Another value in one row."""
    values = pq.read_table(folder / "index.parquet", columns=[name])[name].to_pylist()
    values[ROW] = value
    return write_column(folder, name, values)


NAMES = [
    *("../../secret.tar", "/etc/passwd", "..", ".", "", "home/../../secret.tar", "a/b.tar", "train-000000.idx"),
    *(
        "index.parquet",
        "dataset.json",
        ".hidden.tar",
        "..\\secret.tar",
        "a\nb.tar",
        "a\0b.tar",
        "a?b.tar",
        "x" * 300 + ".tar",
    ),
    *("train-000009.tar", None),
]


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_shard_is_a_plain_name_of_a_file_that_is_listed(copied, tmp_path, is_remote):
    with FileServer(copied.parent) as server:
        for name in NAMES[:3] if is_remote else NAMES:
            folder = shutil.copytree(copied, copied.parent / "other", dirs_exist_ok=True)
            write_row(folder, "shard", name)
            cache = Cache(folder=tmp_path / "cache", patience=QUICK)
            with pytest.raises(InputError, match=r"dataset .*other: index.parquet (names|has rows)") as caught:
                ShardIndex.open(f"{server.address}/other" if is_remote else folder, cache=cache)
            assert "\n" not in str(caught.value)
    assert not any("secret" in path for path, _ in server.asked)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("offset", value) for value in (-1, 2**40, 2**63 - 1, -(2**63), None)),
        *(("length", value) for value in (0, -1, 2**40, 2**63 - 1, None)),
        *(("width", value) for value in (0, -5, 2**31 - 1, None)),
        *(("height", value) for value in (0, -5, MAX_PIXELS, None)),
        ("crc32", None),
    ],
)
def test_a_row_lies_inside_of_its_shard_and_is_a_picture(copied, column, value):
    write_row(copied, column, value)
    with pytest.raises(
        InputError, match=r"copy: index.parquet has (bytes|[\d,-]+ x|rows without).*copy the dataset again"
    ):
        ShardIndex.open(copied)
    assert verify_dataset(copied, workers=1).damages


def test_a_row_ends_with_its_shard(copied):
    index = ShardIndex.open(copied)
    place = index.place(ROW)
    size = place.tar.stat().st_size
    write_row(copied, "length", size - place.offset)
    assert len(ShardIndex.open(copied)) == len(index)
    write_row(copied, "length", size - place.offset + 1)
    with pytest.raises(
        InputError, match=f"has bytes {size - place.offset + 1:,} from {place.offset:,} on of {place.tar.name}"
    ):
        ShardIndex.open(copied)


@pytest.mark.parametrize("column", ["offset", "length", "width", "height", "crc32", "shard"])
def test_columns_of_another_kind(copied, column):
    write_column(copied, column, pa.array(np.full(96, 0.5)))
    with pytest.raises(InputError, match=rf"index.parquet: is no index of images, as its column '{column}' is double"):
        ShardIndex.open(copied)


@pytest.mark.parametrize("marks", [["x"] * 96, [b"x"] * 96, [None, *[b"x" * 64] * 95], [7] * 96])
def test_fingerprints_of_another_kind(copied, marks):
    write_column(copied, "fingerprint", pa.array(marks))
    with pytest.raises(InputError, match="index.parquet has fingerprints that are not of 63 bytes; .*copy the dataset"):
        ShardIndex.open(copied)
    assert verify_dataset(copied, workers=1).damages
    write_column(copied, "fingerprint", pa.array([None, *[bytes(63)] * 95], pa.binary()))
    assert not dataset_stats(ShardIndex.open(copied)).alike.num_groups
    assert not verify_dataset(copied, workers=1).damages


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"../x": {"bytes": 1, "sha256": ""}}, "lists '../x', which is no name of a file in its folder"),
        ({"/x": {"bytes": 1, "sha256": ""}}, "lists '/x'"),
        ({"a.tar": {"bytes": -1, "sha256": ""}}, "has no size and SHA-256 of a.tar"),
        ({"a.tar": {"bytes": True, "sha256": ""}}, "has no size"),
        ({"a.tar": {"bytes": "1", "sha256": ""}}, "has no size"),
        ({"a.tar": {"bytes": 1}}, "has no size"),
        ({"a.tar": 1}, "has no size"),
        (["a.tar"], "lists"),
    ],
)
def test_what_dataset_json_lists(copied, files, what):
    about = json.loads((copied / "dataset.json").read_text())
    (copied / "dataset.json").write_text(json.dumps(about | {"files": files}))
    with pytest.raises(InputError, match=f"dataset.json: {what}"):
        ShardIndex.open(copied)


def test_a_manifest_without_end_and_one_without_bottom(copied, monkeypatch):
    monkeypatch.setattr(manifest, "MOST_MANIFEST_BYTES", 1_000_000)
    (copied / "dataset.json").write_bytes(b'{"format_version": 1' + b" " * 20_000_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="has more than 1,000,000 bytes, as none has"):
        ShardIndex.open(copied)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    (copied / "dataset.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="dataset.json: is no JSON .recursion limit"):
        ShardIndex.open(copied)
    assert [damage.file for damage in verify_dataset(copied, workers=1).damages] == ["dataset.json"]


def test_an_index_of_more_than_there_can_be(copied, monkeypatch):
    monkeypatch.setattr(claims, "MOST_ROWS", 95)
    with pytest.raises(InputError, match=r"index.parquet: has 96 rows in [\d,]+ bytes; at most 95 in"):
        ShardIndex.open(copied)
    monkeypatch.undo()
    monkeypatch.setattr(claims, "MOST_INDEX_BYTES", 100)
    with pytest.raises(InputError, match=r"at most 20,000,000 in 100 are read"):
        ShardIndex.open(copied)


@pytest.mark.parametrize("name", ["index.parquet", "train-000000.tar"])
def test_pipes_are_not_waited_for(copied, name):
    (copied / name).unlink()
    os.mkfifo(copied / name)
    with pytest.raises(InputError, match=f"{name}: is no file"):
        [ShardIndex.open(copied).read(row) for row in range(96)]


def test_members_that_are_not_there(copied, tmp_path):
    folder = copied.parent / "some"
    write_subset(ShardIndex.open(copied).take(range(80)), folder, selection={})
    for number in (1, -1, None):
        values = [0] * 80
        values[ROW] = number
        write_column(folder, "member", values)
        with pytest.raises(InputError, match="some: index.parquet has rows of members that are not there"):
            ShardIndex.open(folder)


def write_derived(folder: Path, *members: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format_version": 1, "labels": [], "fingerprint": "f", "members": []}
    entries = [{"path": member, "fingerprint": "f"} for member in members]
    write_manifest(folder, about | {"members": entries})


def test_members_of_members_come_to_an_end(copied, tmp_path, monkeypatch):
    for number in range(20):
        write_derived(tmp_path / f"d{number}", f"../d{number + 1}")
    with pytest.raises(InputError, match="is derived 8 times over"):
        ShardIndex.open(tmp_path / "d0")
    write_derived(tmp_path / "none")
    with pytest.raises(InputError, match="none: is derived from none"):
        ShardIndex.open(tmp_path / "none")
    write_derived(tmp_path / "d0", "../d0")
    with pytest.raises(InputError, match="is a member of itself"):
        ShardIndex.open(tmp_path / "d0")
    assert "is derived from itself" in verify_dataset(tmp_path / "d0", workers=1).damages[0].message
    other = shutil.copytree(copied, tmp_path / "other")
    merge_datasets([copied, seal(other, name="other")], tmp_path / "both")
    monkeypatch.setattr("shards.datasets.MOST_MEMBERS", 1)
    with pytest.raises(InputError, match="both: is derived from more than 1 datasets"):
        ShardIndex.open(tmp_path / "both")
