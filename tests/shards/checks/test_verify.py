import errno
import json
import shutil
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.base.errors import InputError
from shards.checks.verify import verify_dataset
from shards.derived import merge_datasets, write_subset
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import write_patterns
from tests.shards.sealed import seal


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """24 images in 3 shards, and one rejected."""
    folder = tmp_path_factory.mktemp("packed")
    source = write_patterns(folder / "source", {"train": 8, "test": 4})
    (source / "train" / "blob" / "broken.png").write_bytes(b"no image")
    output = folder / "data"
    options = {"size": 32, "shard_images": 10, "workers": 1, "max_rejected": 1.0}
    build_dataset(BuildConfig(source="folder", input=source, output=output, **options))
    return output


@pytest.fixture
def copy(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "data")


def damages(folder):
    return verify_dataset(folder, workers=1).damages


def change_index(folder, column, change):
    """Changes a column of the index as if the build had written it so: the checksums are made to hold."""
    table = pq.read_table(folder / "index.parquet")
    field = table.schema.field(column)
    values = pa.array(change(table[column].to_pylist()), field.type)
    pq.write_table(table.set_column(table.schema.get_field_index(column), field, values), folder / "index.parquet")
    return seal(folder)


def test_a_whole_dataset(packed):
    found = verify_dataset(packed, workers=1)
    assert found.damages == ()
    assert (found.num_images, found.num_files) == (24, len(list(packed.iterdir())))
    assert found.num_bytes == sum(path.stat().st_size for path in packed.iterdir())


def test_every_one_of_200_random_single_byte_changes_is_found_in_its_file(copy):
    random = np.random.default_rng(3)
    paths = sorted(copy.iterdir())
    shares = np.array([path.stat().st_size for path in paths], dtype=float)
    by_bytes = random.choice(len(paths), 100, p=shares / shares.sum())  # anywhere in the dataset
    for number in [*by_bytes, *np.arange(100) % len(paths)]:  # and often enough in its small files
        path = paths[number]
        data = path.read_bytes()
        place, change = int(random.integers(len(data))), int(random.integers(1, 256))
        path.write_bytes(data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
        assert path.name in {damage.file for damage in damages(copy)}, f"{path.name}, byte {place} ^ {change}"
        path.write_bytes(data)
    assert damages(copy) == ()


def test_a_changed_image_is_named(copy):
    index = ShardIndex.open(copy)
    about = index.table.slice(5, 1).to_pylist()[0]
    path = copy / about["shard"]
    data = bytearray(path.read_bytes())
    data[about["offset"] + about["length"] // 2] ^= 8
    path.write_bytes(data)
    messages = [damage.message for damage in damages(copy)]
    assert messages == [
        f"image {about['key']} (row 5): its bytes have changed (CRC-32)",
        "its bytes have changed (SHA-256)",
    ]


@pytest.mark.parametrize("name", ["train-000000.tar", "train-000000.idx", "index.parquet", "rejected.parquet"])
def test_lost_cut_and_lengthened_files(copy, name):
    path = copy / name
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert {damage.file for damage in damages(copy)} == {name}
    path.write_bytes(data + b"\0")
    assert {damage.file for damage in damages(copy)} == {name}
    path.write_bytes(b"")
    assert {damage.file for damage in damages(copy)} == {name}
    path.unlink()
    assert [(damage.file, damage.message) for damage in damages(copy)] == [(name, "missing")]


def test_a_file_that_does_not_belong(copy):
    shutil.copy(copy / "train-000000.tar", copy / "train-000009.tar")
    (found,) = damages(copy)
    assert found.file == "train-000009.tar"
    assert "does not list it" in found.message


def test_two_shards_of_swapped_names(copy):
    first, second = copy / "train-000000.tar", copy / "train-000001.tar"
    first.rename(copy / "x")
    second.rename(first)
    (copy / "x").rename(second)
    assert {damage.file for damage in damages(copy)} == {first.name, second.name}


def test_a_dataset_without_checksums_is_said_to_be_so(copy):
    about = json.loads((copy / "dataset.json").read_text())
    del about["digest"]
    (copy / "dataset.json").write_text(json.dumps(about))
    assert [(d.file, "no checksums" in d.message) for d in damages(copy)] == [("dataset.json", True)]
    (copy / "dataset.json").unlink()
    assert [(d.file, d.message) for d in damages(copy)] == [("dataset.json", "missing")]


def test_an_image_that_the_index_does_not_list(copy):
    table = pq.read_table(copy / "index.parquet")
    pq.write_table(table.slice(1), copy / "index.parquet")
    seal(copy)
    key = table["key"][0].as_py()
    messages = [damage.message for damage in damages(copy)]
    assert any(f"image {key} at byte 512 is not in index.parquet" in message for message in messages)
    assert any("says images 24, but the tables come to 23" in message for message in messages)


def test_an_image_that_the_tar_does_not_hold(copy):
    change_index(copy, "key", lambda keys: ["other", *keys[1:]])
    messages = [damage.message for damage in damages(copy)]
    assert any("image other of index.parquet is not at byte 512" in message for message in messages)


def test_an_idx_that_lists_less_than_the_tar(copy):
    path = copy / "train-000000.idx"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head.replace(str(len(lines)), str(len(lines) - 1)), *lines[:-1]]) + "\n")
    seal(copy)
    assert [(d.file, "does not list" in d.message) for d in damages(copy)] == [(path.name, True)]


def test_wrong_sizes_checksums_and_labels_of_rows(copy):
    change_index(copy, "width", lambda widths: [999, *widths[1:]])
    assert ["its row says 999x32" in damage.message for damage in damages(copy)] == [True]
    change_index(copy, "crc32", lambda values: [*values[:-1], values[-1] ^ 1])
    assert any("(row 23): its bytes have changed (CRC-32)" in damage.message for damage in damages(copy))
    change_index(copy, "blob", lambda values: [7, *values[1:]])
    assert any("label blob has values other" in damage.message for damage in damages(copy))
    change_index(copy, "fingerprint", lambda values: [None, b"short", *values[2:]])
    assert any("column fingerprint has values that are not of 63 bytes" in damage.message for damage in damages(copy))
    table = pq.read_table(copy / "index.parquet")
    place = table.schema.get_field_index("fingerprint")
    pq.write_table(table.set_column(place, "fingerprint", pa.array(["x"] * 24)), copy / "index.parquet")
    seal(copy)
    assert any("column fingerprint is string, not binary" in damage.message for damage in damages(copy))


def test_an_image_that_cannot_be_decoded(copy):
    """Bytes that are as they were packed, but were no image then."""
    about = ShardIndex.open(copy).table.to_pylist()[0]
    path = copy / about["shard"]
    data = bytearray(path.read_bytes())
    rubbish = b"x" * about["length"]
    data[about["offset"] : about["offset"] + about["length"]] = rubbish
    path.write_bytes(data)
    change_index(copy, "crc32", lambda values: [zlib.crc32(rubbish), *values[1:]])
    assert ["(row 0): cannot be decoded" in damage.message for damage in damages(copy)] == [True]


def test_a_tar_that_ends_early_but_whose_checksum_holds(copy):
    path = copy / "train-000000.tar"
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1].offset
    num_lost = len(ShardIndex.open(copy).where(shard=path.name)) - 1
    path.write_bytes(path.read_bytes()[:second] + b"\0" * 1024)
    seal(copy)
    assert sum("is not at byte" in damage.message for damage in damages(copy)) == num_lost > 0


def test_derived_datasets_are_verified_with_their_members(packed, copy, tmp_path):
    index = ShardIndex.open(copy)
    write_subset(index.fraction(0.5), tmp_path / "half", selection={})
    merge_datasets([packed, tmp_path / "half"], tmp_path / "both")
    assert damages(tmp_path / "both") == ()
    idx = next((tmp_path / "half").glob("*.idx"))
    text = idx.read_text()
    idx.write_text(text.replace("jpg", "png", 1))
    assert {damage.file for damage in damages(tmp_path / "both")} == {f"../half/{idx.name}"}
    idx.write_text(text)
    tar = copy / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    assert {damage.file for damage in damages(tmp_path / "half")} == {"../data/train-000000.tar"}
    shutil.rmtree(copy)
    assert any("no such folder" in damage.message for damage in damages(tmp_path / "half"))


def test_rows_of_a_subset_that_its_member_does_not_hold(copy, tmp_path):
    write_subset(ShardIndex.open(copy).take([1, 2, 3]), tmp_path / "three", selection={})
    change_index(tmp_path / "three", "offset", lambda offsets: [offset + 512 for offset in offsets])
    messages = [damage.message for damage in damages(tmp_path / "three")]
    assert any("has 3 rows that" in message for message in messages)
    assert any("DALI indexes do not list" in message for message in messages)


def test_files_that_the_disk_does_not_give(copy, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("shards.checks.verify_shard.file_checksum", fail)
    found = damages(copy)
    assert {damage.file for damage in found} == {path.name for path in copy.glob("*.tar")}
    assert {damage.message for damage in found} == {"cannot be read (Input/output error)"}
    monkeypatch.setattr("shards.checks.verify.file_checksum", fail)
    assert {"index.parquet", "rejected.parquet"} < {damage.file for damage in damages(copy)}


def test_what_cannot_be_verified(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        verify_dataset(tmp_path / "none")
    with pytest.raises(InputError, match=r"no dataset\.json"):
        verify_dataset(tmp_path)
    with pytest.raises(InputError, match="--workers 0"):
        verify_dataset(tmp_path, workers=0)


def test_real_datasets(real_data, tmp_path):
    build_dataset(BuildConfig(source="nih", input=real_data / "nih", output=tmp_path / "nih", size=64, workers=1))
    assert damages(tmp_path / "nih") == ()
