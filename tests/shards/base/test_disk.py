"""Errors of the system in words: the file, what is wrong, the remedy."""

import errno
import os
import pickle
import tempfile
from pathlib import Path

import pytest

from shards.base import disk
from shards.base.atomic import atomic_file, atomic_folder
from shards.base.disk import Refusal, refusal
from shards.base.errors import InputError, writing
from shards.base.locks import Lock


def error(number: int, *names: object) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    "number",
    [errno.EIO, errno.ESTALE, errno.EFBIG, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.ENOENT],
)
def test_each_names_the_file_and_a_remedy(number: int) -> None:
    said = refusal(error(number, "/data/a.tar"))
    assert said is not None
    assert str(said) == f"/data/a.tar: {os.strerror(number)}; {said.remedy}"
    assert said == refusal(error(number), instead=Path("/data/a.tar"))
    assert said == refusal(pickle.loads(pickle.dumps(error(number, "/data/a.tar")))), "as it comes from a worker"


def test_other_errors_are_none_of_a_disk() -> None:
    for other in (error(errno.ECONNREFUSED, "x"), OSError("no number"), error(errno.ENOENT), ValueError("x")):
        assert refusal(other) is None
    assert refusal(RuntimeError("CUDA out of memory")) is None


def test_shared_memory_is_no_part_of_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_says = "unable to write to file </torch_81_2_0>: No space left on device (28)"
    for full in (RuntimeError(torch_says), error(errno.ENOSPC, "/dev/shm/joblib_memmapping_folder_1/x.pkl")):
        said = refusal(full, instead=tmp_path)
        assert said is not None
        assert said.where == "/dev/shm"
        assert "docker run --shm-size" in said.remedy
    monkeypatch.setattr(disk, "_full_place", lambda: disk.SHARED_MEMORY)
    with pytest.raises(InputError, match="^/dev/shm: the shared memory"), writing(tmp_path):
        raise error(errno.ENOSPC)  # of a semaphore, which tells no file
    monkeypatch.setattr(disk, "_full_place", lambda: Path(tempfile.gettempdir()))
    assert refusal(error(errno.ENOSPC), instead=Path("/data")) == Refusal(
        tempfile.gettempdir(), "No space left on device", "make room and repeat the command"
    )


def test_no_room_for_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(os.statvfs(tmp_path))
    found[5:8] = [1000, 0, 0]  # names: all, free, free to us
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(found))
    said = refusal(error(errno.ENOSPC, str(tmp_path / "new" / "a.tar")))
    assert said is not None
    assert "for another file, though there is for bytes" in said.why
    assert said.remedy == "remove files (df -i), and repeat the command"


def test_what_is_written_is_named_by_its_own_name(tmp_path: Path) -> None:
    for write, wanted in (
        (lambda: atomic_file(tmp_path / "a.txt"), tmp_path / "a.txt"),
        (lambda: atomic_folder(tmp_path / "b"), tmp_path / "b"),
    ):
        with pytest.raises(OSError) as caught, write():
            raise error(errno.ENOSPC)  # a write says no name
        assert caught.value.filename == str(wanted)
    with pytest.raises(OSError) as caught, atomic_folder(tmp_path / "b") as folder:
        raise error(errno.EIO, str(folder / "c" / "d.txt"))
    assert caught.value.filename == str(tmp_path / "b" / "c" / "d.txt")
    with pytest.raises(OSError) as caught, atomic_file(tmp_path / "a.txt"):
        raise error(errno.EIO, "/another/file")
    assert caught.value.filename == "/another/file"


def test_an_output_s_lines(tmp_path: Path) -> None:
    def said(where: Path, number: int = errno.EIO, then: str = "") -> str:
        with pytest.raises(InputError) as caught, writing(tmp_path / "out", then=then):
            raise error(number, str(where))
        return str(caught.value)

    out, remedy = f"--output {tmp_path / 'out'}: ", "; check the disk or network share, and repeat the command"
    assert said(tmp_path / "out") == f"{out}cannot be written (Input/output error){remedy}"
    assert (
        said(tmp_path / "out" / "a", then="it goes on")
        == f"{out}a cannot be written (Input/output error){remedy}; it goes on"
    )
    assert said(tmp_path) == f"{out}{tmp_path} cannot be written (Input/output error){remedy}"
    assert said(Path("/films/a.png")) == f"/films/a.png: Input/output error{remedy}"
    assert not said(tmp_path, errno.EROFS, then="it goes on").endswith("it goes on")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_rights_that_the_user_s_mask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "a"):
            pass
        with atomic_folder(tmp_path / "b") as folder:
            (folder / "c").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == (tmp_path / "b" / "c").stat().st_mode & 0o777 == mode


def test_a_disk_that_refuses_a_lock_is_told_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("shards.base.locks.os.write", refuse)
    with pytest.raises(OSError, match="Disk quota exceeded") as raised, Lock(tmp_path / "a.lock").try_hold():
        pass
    monkeypatch.undo()
    assert str(refusal(raised.value)).startswith(f"{tmp_path}/a.lock: Disk quota exceeded; ")
    assert list(tmp_path.iterdir()) == []
