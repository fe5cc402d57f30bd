import errno
import json
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.base.errors import InputError
from shards.format.blank import UNKNOWN
from shards.index import ShardIndex
from shards.packing.build import build_dataset
from tests.shards.builds import config
from tests.shards.dicom_files import dicom_bytes
from tests.shards.sealed import seal


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset)


@pytest.fixture(scope="module")
def both(tiny_dataset, tmp_path_factory):
    """The tiny dataset beside a copy under another name with uncertain and blank labels and one more column."""
    copy = tmp_path_factory.mktemp("copy") / "other"
    shutil.copytree(tiny_dataset, copy)
    table = pq.read_table(copy / "index.parquet")
    values = [[-1, None, 1, 0][i % 4] for i in range(len(table))]
    table = table.set_column(table.column_names.index("blob"), "blob", pa.array(values, pa.int8()))
    table = table.set_column(table.column_names.index("dataset"), "dataset", pa.array(["other"] * len(table)))
    table = table.append_column("mass", pa.array([1] * len(table), pa.int8()))
    pq.write_table(table, copy / "index.parquet")
    seal(copy, labels=["blob", "clear", "mass"], blanks={"blob": "absent"})
    return ShardIndex.open(tiny_dataset, copy)


def test_selections_keep_row_numbers(index):
    test = index.where(split="test")
    assert len(index) == 96
    assert len(test) == 32
    assert test.table["split"].unique().to_pylist() == ["test"]
    positive = test.where(blob=1)
    assert set(positive.rows) < set(test.rows)
    np.testing.assert_array_equal(test.take([3, 1]).rows, test.rows[[3, 1]])
    assert len(index.where(split=["train", "test"])) == 96
    assert len(index.where(view=None)) == 96


def test_labels_join_by_row(index):
    blob, clear = index.labels("blob"), index.labels("clear")
    np.testing.assert_array_equal(blob + clear, 1)
    keys = index.column("key")
    assert all(("blob" in key) == (value == 1) for key, value in zip(keys, blob, strict=True))


def test_columns_of_text_bytes_and_numbers(both):
    marks = both.column("fingerprint")
    assert {(type(mark), len(mark)) for mark in marks} == {(bytes, 63)}
    np.testing.assert_array_equal(both.where(fingerprint=marks[7]).rows, np.flatnonzero(marks == marks[7]))
    assert {type(key) for key in both.column("key")} == {str}
    assert both.column("width").dtype == np.float64


def test_label_policies_and_absent_columns(both):
    other = both.where(dataset="other")
    np.testing.assert_array_equal(other.labels("blob")[:4], [np.nan, 0, 1, 0])
    np.testing.assert_array_equal(other.labels("blob", "ones")[:4], [1, 0, 1, 0])
    np.testing.assert_array_equal(other.labels("blob", "zeros")[:4], [0, 0, 1, 0])
    assert np.isnan(both.labels("mass")[:96]).all()  # the first dataset has no such column
    assert (both.labels("mass")[96:] == 1).all()
    assert both.label_names == ("blob", "clear", "mass")


def with_blanks(tiny_dataset, folder, blanks):
    """A copy whose first labels of ``blob`` are blank, and one of ``clear`` is what no list speaks of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(tiny_dataset, folder)
    table = pq.read_table(folder / "index.parquet")
    for name, first in (("blob", [None, None, -1]), ("clear", [UNKNOWN])):
        values = [*first, *table[name].to_pylist()[len(first) :]]
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.int8()))
    names = pa.array([folder.name] * len(table))
    pq.write_table(table.set_column(1, "dataset", names), folder / "index.parquet")
    about = json.loads((folder / "dataset.json").read_text())
    about.pop("blanks")
    (folder / "dataset.json").write_text(json.dumps(about))
    return seal(folder, **({"blanks": blanks} if blanks else {}))


def test_what_a_blank_means_belongs_to_each_dataset(tiny_dataset, tmp_path, capsys):
    rules = {
        "hospital": {"blob": "unknown", "clear": "unknown"},
        "release": {"blob": "absent", "clear": "absent"},
        "former": None,
    }
    folders = [with_blanks(tiny_dataset, tmp_path / name, blanks) for name, blanks in rules.items()]
    for folder, first in zip(folders, (np.nan, 0, 0), strict=True):
        index = ShardIndex.open(folder)
        for policy, uncertain in (("ignore", np.nan), ("ones", 1), ("zeros", 0)):
            np.testing.assert_array_equal(index.labels("blob", policy)[:3], [first, first, uncertain])
            assert np.isnan(index.labels("clear", policy)[0])
        np.testing.assert_array_equal(index.is_said("blob")[:3], [first == 0, first == 0, True])
        assert index.is_said("blob").sum() == 96 - 2 * (first != 0)
        assert not index.is_said("clear")[0]
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1, "once, though it was asked for three times"
    assert told[0].startswith(f"note: {folders[2]} was packed when every blank label counted as absent")
    both = ShardIndex.open(*folders)
    for number, folder in enumerate(folders):
        chosen = both.where(dataset=folder.name)
        assert (chosen.packed_numbers() == number).all()
        np.testing.assert_array_equal(chosen.labels("blob"), ShardIndex.open(folder).labels("blob"))


def test_two_datasets_read_their_own_shards(both, index):
    assert both.rows[96] == 96
    assert bytes(both.read(96)) == bytes(index.read(0))
    assert len(np.unique(both.patients())) == 2 * len(np.unique(index.patients()))


def test_fractions_are_nested_by_patient_and_differ_by_draw(index):
    small, large = index.fraction(0.1, draw=3), index.fraction(0.5, draw=3)
    assert len(small) == 10
    assert len(large) == 48
    assert set(small.rows) < set(large.rows)
    assert set(small.rows) != set(index.fraction(0.1, draw=4).rows)
    np.testing.assert_array_equal(index.fraction(1.0).rows, index.rows)
    assert len(index.fraction(0.001)) == 1


def test_a_patients_images_stay_together(tiny_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    table = pq.read_table(copy / "index.parquet")
    patients = pa.array([str(i // 4) for i in range(len(table))])
    table = table.set_column(table.column_names.index("patient_id"), "patient_id", patients)
    pq.write_table(table, copy / "index.parquet")
    index = ShardIndex.open(seal(copy))
    for draw in range(5):
        counts = np.bincount(index.fraction(0.3, draw=draw).patients())
        assert set(counts[counts > 0]) == {4}
    single = np.bincount(index.fraction(0.3, by="image").patients())
    assert set(single[single > 0]) != {4}


def test_it_travels_to_workers(index):
    index.read(0)
    copy = pickle.loads(pickle.dumps(index))
    assert bytes(copy.read(5)) == bytes(index.read(5))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda index: index.labels("bolb"), "label 'bolb': .*; did you mean blob. known: blob, clear"),
        (lambda index: index.labels("blob", "maybe"), "policy 'maybe'"),
        (lambda index: index.where(hospital="A"), "column 'hospital'.*known: key"),
        (lambda index: index.fraction(0.0), "share 0.0: out of range; give a number above 0 and at most 1"),
        (lambda index: index.fraction(1.5), "share 1.5: out of range"),
        (lambda index: index.fraction("a"), "share 'a': give a number"),
        (lambda index: index.fraction(0.5, draw=-1), "draw -1: out of range"),
        (lambda index: index.fraction(0.5, by="study"), "by 'study': give patient or image"),
        (lambda index: ShardIndex.open(None), "folder None: give text or a path"),
        (lambda index: ShardIndex.open(["a", "b"]), r"folder \['a', 'b'\]: give text or a path"),
        (lambda index: ShardIndex.open("a", None), "more_folders None: give text or a path"),
        (
            lambda index: index.where(split="valid").require_rows("--split valid"),
            "--split valid: selects no image.*test, train",
        ),
        (lambda index: index.where(split="trian"), "split 'trian': did you mean train. Known are test, train$"),
        (lambda index: index.where(split=None), "split None: no image has it. Known are test, train$"),
        (lambda index: index.where(split="train").where(split=("test", "tset")), "split 'tset': did you mean test"),
        (lambda index: index.where(view="frontal"), "view 'frontal': no image has it. Known are None$"),
        (lambda index: index.where(sex="X"), "sex 'X': no image has it. Known are "),
        (lambda index: index.where(blob=7), "blob 7: no image has it. Known are 0, 1$"),
        (lambda index: index.where(blob=(1, "yes")), "blob 'yes': no image has it. Known are 0, 1$"),
        (lambda index: index.where(blob=300), "blob 300: no image has it. Known are 0, 1$"),
        (lambda index: index.where(offset="x"), "offset 'x': is no value of a column of int64"),
    ],
)
def test_wrong_questions_are_answered_with_what_is_known(index, ask, message):
    with pytest.raises(InputError, match=message):
        ask(index)


def test_what_exists_may_be_asked_for_together_and_select_nothing(tiny_dataset):
    index = ShardIndex.open(tiny_dataset)
    assert len(index.where(split="valid")) == len(index.where(blob=0, clear=0)) == len(index.where(key="none")) == 0
    assert len(index.where(blob=1).where(blob=0)) == 0
    assert repr(index.where(split="test")) == f"<ShardIndex: 32 of 96 images of {tiny_dataset}>"


def test_what_is_no_dataset(tmp_path, tiny_dataset):
    with pytest.raises(InputError, match="no such folder"):
        ShardIndex.open(tmp_path / "none")
    with pytest.raises(InputError, match="no dataset.json"):
        ShardIndex.open(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    about = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(about | {"format_version": 99}))
    with pytest.raises(InputError, match="format version 99"):
        ShardIndex.open(copy)


def test_a_missing_shard_is_named(tmp_path, tiny_dataset):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_dataset, copy)
    (copy / "test-000000.tar").unlink()
    index = ShardIndex.open(copy)
    with pytest.raises(InputError, match="test-000000.tar"):
        index.read(index.where(split="test").rows[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("index.parquet", None, "index.parquet: no such file; copy it again"),
        ("index.parquet", b"", "index.parquet: (cannot be read|was changed)"),
        ("index.parquet", b"<html>no</html>", "index.parquet: (cannot be read|was changed)"),
        ("index.parquet", pa.table({"key": ["a"]}), "index.parquet: was changed since it was written"),
        ("dataset.json", b"", "dataset.json: is no JSON .*; copy it again"),
        ("dataset.json", b"\xff\xfe{", "dataset.json: is no JSON"),
        ("dataset.json", b"[]", "format version None"),
        ("dataset.json", b'{"format_version": 1}', "dataset.json: is damaged .packed without labels.; copy it again"),
        ("dataset.json", b'{"format_version": 1, "labels": 3}', "dataset.json: is damaged .labels is 3, not a list"),
        ("dataset.json", b'{"format_version": 1, "members": [{}]}', "dataset.json: is damaged .member without path"),
        ("dataset.json", b'{"format_version": 1, "members": 3}', "dataset.json: is damaged .members is 3"),
    ],
)
def test_damaged_tables_and_manifests_are_one_line(tmp_path, tiny_dataset, name, content, message):
    path = shutil.copytree(tiny_dataset, tmp_path / "copy") / name
    path.unlink()
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        ShardIndex.open(tmp_path / "copy")
    assert str(tmp_path / "copy") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_may_not_be_read(tmp_path, tiny_dataset, monkeypatch):
    shutil.copytree(tiny_dataset, tmp_path / "copy")

    def refuse(path, flags):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match="dataset.json: cannot be read .Permission denied.; copy it again"):
        ShardIndex.open(tmp_path / "copy")


def test_rows_are_found_in_a_selection(tiny_dataset):
    index = ShardIndex.open(tiny_dataset).take([7, 3, 90, 11])
    assert index.positions([90, 7]).tolist() == [2, 0]
    np.testing.assert_array_equal(index.labels("blob")[index.positions([3])], index.take([1]).labels("blob"))
    assert not len(index.positions([]))
    for absent in (4, 95):
        with pytest.raises(InputError, match=f"row {absent}: not in this selection of 4 rows"):
            index.positions([7, absent])


def test_a_dataset_without_labels_says_so(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.dcm").write_bytes(dicom_bytes(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    build_dataset(config(tmp_path / "source", tmp_path / "data", source="dicom", size=16))
    with pytest.raises(InputError, match=f"label 'Mass': {tmp_path / 'data'} has no labels; build it with a list"):
        ShardIndex.open(tmp_path / "data").labels("Mass")
