"""The same data given twice is noticed, however it comes."""

import shutil

import numpy as np
import pytest

from shards.__main__ import merge
from shards.base.errors import InputError
from shards.derived import merge_datasets, open_rows, write_subset
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.repeated import refuse_repeated, repeated_note, same_images
from tests.conftest import write_patterns


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A dataset and what is made of it: a copy, a link, a half, a merge with another one; and its release packed again
    at another size."""
    root = tmp_path_factory.mktemp("folders")
    source = write_patterns(root / "source", {"train": 4, "test": 2})
    found = {name: root / name for name in ("first", "copy", "link", "half", "other", "merge", "small")}
    for name, size in (("first", 48), ("small", 32)):
        build_dataset(BuildConfig(source="folder", input=source, output=found[name], size=size, workers=1))
    (source / "train" / "blob" / "blob000.png").unlink()
    others = source / "train" / "clear"
    for number, path in enumerate(sorted(source.rglob("*.png"))):
        if path.parent != others:
            path.write_bytes(path.read_bytes() + bytes([number]))  # other files, but for those of one folder
    build_dataset(BuildConfig(source="folder", input=source, output=found["other"], size=48, workers=1))
    shutil.copytree(found["first"], found["copy"])
    found["link"].symlink_to(found["first"])
    write_subset(ShardIndex.open(found["first"]).take(np.arange(5)), found["half"], selection={})
    merge_datasets([found["first"], found["other"]], found["merge"])
    return found


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("first", "first", 12),
        ("first", "copy", 12),
        ("link", "first", 12),
        ("half", "first", 5),
        ("half", "copy", 5),
        ("merge", "half", 5),
        ("merge", "other", 11),
    ],
)
def test_datasets_that_hold_the_same_packed_images_are_refused(one, other, count, folders, tmp_path):
    for pair in ((folders[one], folders[other]), (folders[other], folders[one])):
        with pytest.raises(
            InputError, match=f"--data: {count} images are in two of the datasets, {pair[0]} and {pair[1]}"
        ):
            refuse_repeated(ShardIndex.open(*pair), "--data")
        with pytest.raises(InputError, match="subset: .* would count twice; give one of them"):
            write_subset(ShardIndex.open(*pair), tmp_path / "out", selection={})
        with pytest.raises(InputError, match="^DATASET: .* would count twice"):
            open_rows(pair, ())
        if "copy" not in (one, other):
            with pytest.raises(InputError, match="merge: .* (given|count) twice"):
                merge_datasets(pair, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merge_with_a_copy_is_told_and_refused_where_it_is_used(folders, tmp_path):
    merged = merge_datasets([folders["first"], folders["copy"]], tmp_path / "both")
    assert repeated_note(merged).startswith("24 of 24 images are there several times")
    with pytest.raises(InputError, match="--data: 12 images are in two of the datasets, which .*both is made of"):
        refuse_repeated(merged, "--data")


def test_a_release_packed_twice_is_told_and_not_refused(folders, tmp_path, capsys):
    index = ShardIndex.open(folders["first"], folders["small"])
    refuse_repeated(index, "--data")
    said = "24 of 24 images are there several times, packed into different datasets: "
    assert repeated_note(index) == f"{said}{folders['first']}, {folders['small']}"
    merge((folders["first"], folders["small"]), tmp_path / "both")
    assert f"note: {said}" in capsys.readouterr().out
    assert repeated_note(ShardIndex.open(folders["merge"])).startswith("8 of 23 images are there several times")
    assert repeated_note(ShardIndex.open(folders["half"])) == ""


def test_which_images_another_dataset_has(folders):
    index = ShardIndex.open(folders["first"], folders["other"])
    numbers = index.packed_numbers()
    first, other = index.take(numbers == 0), index.take(numbers == 1)
    is_same = same_images(first, other)
    assert set(first.column("source_path")[is_same]) == {f"train/clear/clear00{n}.png" for n in range(4)}
    assert not same_images(first, first).any(), "what a release holds twice is its own"
