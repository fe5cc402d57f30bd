"""Disks that fail under commands in this process: one line with the file and the remedy, exit code 2, and
repeating the command goes on."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shards.__main__ as shards_command
from shards.base.errors import run_command
from tests.conftest import ROOT
from tests.disks import FAST, arguments, fill, material, mount

__all__ = ["material", "mount"]


@pytest.fixture
def limit_files():
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda num_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failing_call(monkeypatch, owner, name, number, folder):
    """Has a function fail below ``folder`` from its second such call on."""
    original, seen = getattr(owner, name), []

    def call(*given, **options):
        path = os.readlink(f"/proc/self/fd/{given[0]}") if isinstance(given[0], int) else str(given[0])
        if path.startswith(str(folder)):
            seen.append(path)
        if seen:
            raise OSError(number, os.strerror(number))
        return original(*given, **options)

    monkeypatch.setattr(owner, name, call)


def refused(capsys) -> str:
    """The one line of a command that has ended with 2."""
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in out + err
    return lines[0]


@pytest.fixture
def run(monkeypatch, capsys, tiny_dataset, material):
    """Runs a command of ``shards`` in this process: its exit code and its line."""

    def command(name: str, out: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["shards", *arguments(name, tiny_dataset, material, out)[2:]])
        with pytest.raises(SystemExit) as caught:
            run_command(shards_command.main)
        return caught.value.code, refused(capsys) if caught.value.code else ""

    return command


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("fault", ["full", "no names", "read-only", "small files", "no folder"])
def test_disks(run, mount, limit_files, tmp_path, name, fault):
    out, words = (
        tmp_path / "disk" / "out",
        {
            "full": "No space left on device",
            "no names": "No space left on device for another file",
            "read-only": "Read-only file system",
            "small files": "File too large",
            "no folder": "Not a directory|File exists",
        },
    )
    if fault == "full":
        fill(mount("size=1m"), names=False)
        (tmp_path / "disk" / "fill0").write_bytes(b"")
        fill(tmp_path / "disk", names=False)
    elif fault == "no names":
        fill(mount("size=1m,nr_inodes=20"), names=True)
    elif fault == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(mount("size=1m"))], check=True)
    elif fault == "small files":
        limit_files(100)
    else:
        out = Path("/dev/null/out")
    code, said = run(name, out)
    assert code == 2
    assert any(each in said for each in words[fault].split("|"))
    assert said.startswith(f"error: --output {out}")
    if fault == "small files":
        limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        assert run(name, out) == (0, ""), "repeated when all is well"


@pytest.mark.parametrize(("call", "number"), [("fsync", errno.EIO), ("fsync", errno.EDQUOT), ("rename", errno.ESTALE)])
def test_calls_that_fail(run, tmp_path, monkeypatch, call, number):
    out = tmp_path / "out"
    for name in FAST:
        with monkeypatch.context() as patch:
            failing_call(patch, *((os, "fsync") if call == "fsync" else (Path, "replace")), number, tmp_path)
            code, said = run(name, out)
            assert code == 2, name
            assert said.startswith(f"error: --output {out}"), name
            assert f"({os.strerror(number)}); " in said, name
        assert not [path for path in tmp_path.rglob("*.part") if path.is_file()], name
        assert run(name, out) == (0, ""), "repeated when all is well"
        shutil.rmtree(out, ignore_errors=True)


def test_a_terminal_that_knows_ascii_only(tmp_path, tiny_dataset):
    named = shutil.copytree(tiny_dataset, tmp_path / "Röntgen ß häufig")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "LANG": "C"}
    for command in (["stats", named], ["stats", tmp_path / "Thorax ü"]):
        done = subprocess.run(
            [sys.executable, "-m", "shards", *map(str, command)],
            capture_output=True,
            env=os.environ | ascii_only,
            cwd=ROOT,
            check=False,
        )
        assert b"Unicode" not in done.stderr
        assert b"Traceback" not in done.stderr
        assert done.returncode == (2 if "Thorax" in str(command[1]) else 0)
        assert (done.stdout + done.stderr).isascii()


def test_output_that_a_full_disk_takes(tiny_dataset):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "shards", "stats", str(tiny_dataset)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    said = "error: a file that the system does not name, perhaps standard output: No space left on device; make room"
    assert done.stderr.splitlines()[-1] == f"{said} and repeat the command"
