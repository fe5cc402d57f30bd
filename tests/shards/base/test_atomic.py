import contextlib
import errno
import os

import pytest

from shards.base.atomic import atomic_file, atomic_folder, atomic_write


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_file(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_file(path) as one:
        one.write(b"one, unfinished")
        with atomic_file(path) as two:
            two.write(b"two")
        assert path.read_bytes() == b"two"
        one.write(b" and done")
    assert path.read_bytes() == b"one, unfinished and done"


def test_another_folder_for_the_unfinished_file(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    with atomic_file(tmp_path / "a.txt", scratch=work) as file:
        file.write(b"new")
        assert [path.suffix for path in work.iterdir()] == [".part"]
    assert not list(work.iterdir())


def test_a_folder_appears_at_the_end_in_place_of_what_was_left_unfinished(tmp_path):
    path = tmp_path / "a"
    (tmp_path / "a.part").mkdir()
    (tmp_path / "a.part" / "old.txt").write_bytes(b"of a process that was killed")
    with atomic_folder(path) as folder:
        (folder / "inner").mkdir()
        atomic_write(folder / "inner" / "new.txt", "néw")
        assert not path.exists()
    assert [found.relative_to(path).as_posix() for found in sorted(path.rglob("*"))] == ["inner", "inner/new.txt"]
    assert (path / "inner" / "new.txt").read_bytes() == "néw".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_nothing_of_a_folder(tmp_path):
    def interrupted():
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "new.txt").write_bytes(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.ENOSPC, True)])
def test_file_systems_that_cannot_sync_are_put_up_with(tmp_path, monkeypatch, number, is_told):
    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError) if is_told else contextlib.nullcontext():
        atomic_write(tmp_path / "a.txt", "new")
    with pytest.raises(OSError) if is_told else contextlib.nullcontext(), atomic_folder(tmp_path / "b"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if is_told else ["a.txt", "b"])
