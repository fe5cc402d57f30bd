import json
import shutil

import numpy as np
import pytest

from shards.base.errors import InputError
from shards.derived import filter_rows, merge_datasets, write_subset
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import write_patterns
from tests.shards.sealed import seal


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second dataset, PNG, of labels ``blob``, ``clear``."""
    folder = tmp_path_factory.mktemp("other")
    source = write_patterns(folder / "source", {"train": 6})
    output = folder / "other"
    build_dataset(BuildConfig(source="folder", input=source, output=output, size=48, format="png", workers=1))
    return output


def images(index):
    return [bytes(index.read(row)) for row in index.rows]


def test_a_merge_is_the_datasets_opened_together(tiny_dataset, other, tmp_path):
    merged = merge_datasets([tiny_dataset, other], tmp_path / "both")
    together = ShardIndex.open(tiny_dataset, other)
    assert merged.table.equals(together.table)
    assert images(merged) == images(together)
    assert merged.fingerprints == together.fingerprints
    np.testing.assert_array_equal(merged.patients(), together.patients())
    assert [path.name for path in (tmp_path / "both").iterdir()] == ["dataset.json"]
    assert json.loads((tmp_path / "both" / "dataset.json").read_text())["totals"]["images"] == 96 + 12


def test_a_subset_is_the_selection(tiny_dataset, other, tmp_path):
    chosen = ShardIndex.open(tiny_dataset, other).where(split="train").fraction(0.5, draw=2)
    subset = write_subset(chosen, tmp_path / "half", selection={"fraction": 0.5})
    assert len(subset) == len(chosen)
    assert subset.table.equals(chosen.table)
    assert images(subset) == images(chosen)
    for label in chosen.label_names:
        np.testing.assert_array_equal(subset.labels(label), chosen.labels(label))
    assert subset.where(dataset="other").dali_entries() == chosen.where(dataset="other").dali_entries()
    about = json.loads((tmp_path / "half" / "dataset.json").read_text())
    assert about["selection"] == {"fraction": 0.5}
    assert all((tmp_path / "half" / name).is_file() for pair in about["dali"] for name in pair)


def test_labels_of_members_without_a_column_stay_unknown(tiny_dataset, tmp_path):
    source = write_patterns(tmp_path / "source", {"train": 3})
    (source / "train" / "blob").rename(source / "train" / "mass")
    build_dataset(BuildConfig(source="folder", input=source, output=tmp_path / "masses", size=48, workers=1))
    merged = merge_datasets([tiny_dataset, tmp_path / "masses"], tmp_path / "both")
    subset = write_subset(merged.take(range(90, 102)), tmp_path / "few", selection={})
    for index in (merged.take(range(90, 102)), subset):
        assert np.isnan(index.labels("mass")[:6]).all()
        assert not np.isnan(index.labels("mass")[6:]).any()
        assert np.isnan(index.labels("blob")[6:]).all()


def test_dali_reads_a_subset_folder(tiny_dataset, tmp_path):
    from nvidia.dali import fn
    from nvidia.dali.pipeline import Pipeline

    folder = tmp_path / "subset"
    subset = write_subset(ShardIndex.open(tiny_dataset).fraction(0.2, by="image"), folder, selection={})
    pairs = json.loads((folder / "dataset.json").read_text())["dali"]
    pipe = Pipeline(batch_size=len(subset), num_threads=1, device_id=None)
    with pipe:
        data = fn.readers.webdataset(
            paths=[str(folder / tar) for tar, _ in pairs],
            index_paths=[str(folder / idx) for _, idx in pairs],
            ext=["jpg"],
        )
        pipe.set_outputs(data)
    pipe.build()
    (batch,) = pipe.run()
    assert sorted(batch.at(i).tobytes() for i in range(len(subset))) == sorted(images(subset))


def test_derived_from_derived(tiny_dataset, other, tmp_path):
    half = write_subset(ShardIndex.open(tiny_dataset).where(split="test"), tmp_path / "test", selection={})
    both = merge_datasets([tmp_path / "test", other], tmp_path / "both")
    assert images(both)[: len(half)] == images(half)
    few = write_subset(both.take([0, len(half)]), tmp_path / "few", selection={})
    assert images(few) == [images(both)[0], images(both)[len(half)]]
    again = write_subset(few.take([1]), tmp_path / "one", selection={})
    assert [packed.folder.name for packed in again.packed] == ["other"]


def test_a_derived_dataset_moves_with_its_members(tiny_dataset, other, tmp_path):
    (tmp_path / "a").mkdir()
    shutil.copytree(tiny_dataset, tmp_path / "a" / "tiny")
    shutil.copytree(other, tmp_path / "a" / "other")
    merge_datasets([tmp_path / "a" / "tiny", tmp_path / "a" / "other"], tmp_path / "a" / "both")
    (tmp_path / "a").rename(tmp_path / "b")
    assert len(ShardIndex.open(tmp_path / "b" / "both")) == 108
    shutil.rmtree(tmp_path / "b" / "other")
    with pytest.raises(InputError, match=r"both: is derived from others.*other: no such folder"):
        ShardIndex.open(tmp_path / "b" / "both")


def test_a_member_that_was_packed_anew_is_refused(tiny_dataset, other, tmp_path):
    copy = shutil.copytree(tiny_dataset, tmp_path / "tiny")
    write_subset(ShardIndex.open(copy).take([0]), tmp_path / "one", selection={})
    seal(copy, fingerprint="another")
    with pytest.raises(InputError, match="tiny was packed anew since"):
        ShardIndex.open(tmp_path / "one")


def test_a_derived_dataset_in_a_circle_is_refused(tiny_dataset, other, tmp_path):
    merge_datasets([tiny_dataset, other], tmp_path / "both")
    about = json.loads((tmp_path / "both" / "dataset.json").read_text())
    about["members"][0] = {"path": ".", "fingerprint": about["fingerprint"]}
    seal(tmp_path / "both", members=about["members"])
    with pytest.raises(InputError, match="a member of itself"):
        ShardIndex.open(tmp_path / "both")


def test_mistakes(tiny_dataset, other, tmp_path):
    with pytest.raises(InputError, match="at least two"):
        merge_datasets([tiny_dataset], tmp_path / "out")
    with pytest.raises(InputError, match="given twice"):
        merge_datasets([tiny_dataset, tiny_dataset / "."], tmp_path / "out")
    merge_datasets([tiny_dataset, other], tmp_path / "both")
    with pytest.raises(InputError, match="96 images are in two of the datasets"):
        merge_datasets([tiny_dataset, tmp_path / "both"], tmp_path / "out")
    with pytest.raises(InputError, match="exists already"):
        merge_datasets([tiny_dataset, other], tmp_path / "both")
    with pytest.raises(InputError, match="exists already"):
        write_subset(ShardIndex.open(other), tmp_path / "both", selection={})
    with pytest.raises(InputError, match="selects no image"):
        write_subset(ShardIndex.open(other).take([]), tmp_path / "out", selection={})
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_subset(ShardIndex.open(other), tmp_path / "file" / "out", selection={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "file"]


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset)


@pytest.mark.parametrize(
    ("conditions", "columns"),
    [
        ([], {}),
        (["split=test"], {"split": "test"}),
        (["split=test,train", "blob=1"], {"blob": 1}),
        (["blob=1.0"], {"blob": 1}),
        (["view="], {"view": None}),
        (["width=72", "split=train"], {"split": "train"}),
    ],
)
def test_conditions_select_what_where_selects(index, conditions, columns):
    np.testing.assert_array_equal(filter_rows(index, conditions).rows, index.where(**columns).rows)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["train"], "--where train: must be COLUMN=VALUE"),
        (["spilt=train"], "no column 'spilt'; did you mean split. columns: key, dataset, split"),
        (["split=valid"], "no image has split 'valid'; it holds test, train"),
        (["split=train", "split=test"], "split is given twice"),
        (["blob=yes"], r"'yes' is no value of a column of int8; give 1 \(present\), 0 \(absent\) or -1 \(uncertain\)"),
        (["blob=0.5"], "'0.5' is no value of a column of int8"),
        (["fingerprint=7"], "a column of binary holds no text or number to ask for; choose another column"),
        (["blob="], "no image has blob blank; it holds 0, 1"),
    ],
)
def test_wrong_conditions(index, conditions, message):
    with pytest.raises(InputError, match=message):
        filter_rows(index, conditions)
