"""Shards as open files: as many as there are, as few as may be open, and disks that fail."""

import errno
import gc
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest

from shards import open_shards
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.open_shards import CutOff, allow_open_files
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import write_patterns


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A dataset of 60 shards of an image."""
    folder = tmp_path_factory.mktemp("many")
    source = write_patterns(folder / "source", {"train": 30})
    build_dataset(
        BuildConfig(source="folder", input=source, output=folder / "many", size=64, shard_images=1, workers=1)
    )
    return folder / "many"


@pytest.fixture
def copied(tiny_dataset, tmp_path):
    return ShardIndex.open(shutil.copytree(tiny_dataset, tmp_path / "copy", ignore=shutil.ignore_patterns("source")))


def images(index):
    return [bytes(index.read(row)) for row in index.rows.tolist()]


def num_open():
    return len(os.listdir("/proc/self/fd"))


def failing(monkeypatch, name, *numbers):
    """Has a function of ``os`` fail with these errors, one call each, and then work."""
    original, left = getattr(os, name), list(numbers)

    def call(*arguments):
        if left:
            number = left.pop(0)
            raise OSError(number, os.strerror(number))
        return original(*arguments)

    monkeypatch.setattr(open_shards.os, name, call)


def test_the_soft_limit_of_open_files_is_raised_where_shards_need_it(packed):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        low = num_open() + 40
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
        index = ShardIndex.open(packed)
        assert len(images(index)) == 60
        assert index.datasets.shards.num_open == 60
        assert low < resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_shards_that_may_not_stay_open_are_opened_for_each_image(packed, monkeypatch):
    index, whole = ShardIndex.open(packed), images(ShardIndex.open(packed))
    gc.collect()
    before, free = num_open(), [os.open(os.devnull, os.O_RDONLY) for _ in range(6)]
    for descriptor in free:
        os.close(descriptor)
    monkeypatch.setattr(open_shards, "allow_open_files", lambda _: max(free))  # others may have higher ones open
    assert images(index) == images(index) == whole
    assert 0 < index.datasets.shards.num_open < 10
    assert num_open() < before + 10


def test_half_of_the_open_files_are_left_to_others():
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert allow_open_files(1) == soft // 2 or soft == resource.RLIM_INFINITY


def test_a_copy_in_another_process_opens_for_itself(copied):
    copied.read(0)
    other = pickle.loads(pickle.dumps(copied))
    assert other.datasets.shards.num_open == 0
    assert bytes(other.read(0)) == bytes(copied.read(0))


def test_what_was_opened_is_closed(tiny_dataset, tmp_path):
    index = ShardIndex.open(shutil.copytree(tiny_dataset, tmp_path / "copy"))
    images(index)
    descriptors = Path("/proc/self/fd")

    def num_tars():
        names = [os.readlink(one) for one in descriptors.iterdir() if one.is_symlink()]
        return sum(name.startswith(str(tmp_path)) and name.endswith(".tar") for name in names)

    assert num_tars() == index.datasets.shards.num_open == 3
    index.datasets.shards.drop(0)
    assert num_tars() == 2
    del index
    gc.collect()
    assert num_tars() == 0


def test_a_shard_that_is_cut_off_while_it_is_read_is_told(copied):
    row, last = int(copied.rows[0]), int(copied.rows[copied.shard_numbers() == copied.shard_numbers()[0]][-1])
    first, place = bytes(copied.read(row)), copied.place(last)
    os.truncate(place.tar, place.offset + 1)
    assert bytes(copied.read(row)) == first
    message = rf"{place.tar}: is cut off, with {place.offset + 1:,} bytes where the index has an image up to byte"
    with pytest.raises(CutOff, match=message):
        copied.read(last)


def test_other_files_open_give_way(copied, monkeypatch):
    whole = images(copied)
    opened, again = ShardIndex.open(copied.folders[0]), ShardIndex.open(copied.folders[0])
    failing(monkeypatch, "open", errno.EMFILE)
    assert images(opened) == whole
    failing(monkeypatch, "open", errno.EMFILE, errno.EMFILE)
    with pytest.raises(InputError, match=r"cannot be opened, as this process has opened .*: ulimit -n \d+"):
        images(again)


def test_a_disk_or_share_that_fails_is_one_line(copied, monkeypatch):
    whole = bytes(copied.read(0))
    for number, message in (
        (errno.EIO, "cannot be read .Input/output error.; check its disk or network share"),
        (errno.EACCES, "cannot be read .Permission denied.; give yourself the right"),
        (errno.ENOENT, "missing; copy the whole dataset folder, or pack it again"),
    ):
        failing(monkeypatch, "pread", number)
        with pytest.raises(InputError, match=message):
            copied.read(0)
        assert bytes(copied.read(0)) == whole
    failing(monkeypatch, "pread", errno.ESTALE)
    assert bytes(copied.read(0)) == whole  # the file has a new place on the server
    failing(monkeypatch, "pread", errno.ESTALE, errno.ESTALE)
    with pytest.raises(InputError, match="Stale file handle"):
        copied.read(0)


def test_short_answers_of_a_file_system_are_completed(copied, monkeypatch):
    whole, original = bytes(copied.read(0)), os.pread
    monkeypatch.setattr(open_shards.os, "pread", lambda file, size, place: original(file, min(size, 100), place))
    assert bytes(copied.read(0)) == whole


def test_shards_are_asked_for_all_at_once(copied):
    copied.datasets.require_shards(copied.rows, whole=True)
    tars = [copied.place(row).tar for row in (0, 50, 95)]
    tars[0].write_bytes(b"")
    os.truncate(tars[2], 1000)
    with pytest.raises(InputError, match=r"is empty; copy it again.*first of 2 such shards of 3"):
        copied.datasets.require_shards(copied.rows, whole=True)
    copied.datasets.require_shards(copied.take([95]).rows, whole=False)
    with pytest.raises(InputError, match=r"is cut off, with 1,000 bytes of at least"):
        copied.datasets.require_shards(copied.take([95]).rows, whole=True)
    tars[1].unlink()
    with pytest.raises(InputError, match="missing; copy the whole dataset folder"):
        copied.datasets.require_shards(copied.take([50]).rows, whole=False)
