"""Disks that fail under each command as a process: calls that fail by ``tests/disk.c``, loaded before the C library;
disks that are full; no shared memory; no home."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.disks import FAST, SLOW, arguments, environment, fill, material, mount

__all__ = ["material", "mount"]


@pytest.fixture(scope="session")
def shim(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shim") / "disk.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(ROOT / "tests" / "disk.c"), "-ldl"], check=True)
    return path


@pytest.fixture(scope="session")
def trained(material, tiny_dataset):
    """The material, with a run and with results."""
    for name, out in (("pretrain", "run"), ("linear", "results")):
        command = [sys.executable, *arguments(name, tiny_dataset, material, material / out)]
        subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    return material


FAULTS = {  # calls, error (0: the folder vanishes), calls that are spared
    "write": ("write", errno.EIO, 2),
    "quota": ("write", errno.EDQUOT, 0),
    "sync": ("sync", errno.EIO, 0),
    "rename": ("rename", errno.ESTALE, 0),
    "create": ("create", errno.EPERM, 0),
    "mkdir": ("mkdir", errno.EROFS, 0),
    "read": ("open,read", errno.EIO, 3),
    "lock": ("lock", errno.EIO, 0),
    "gone": ("write,create,mkdir", 0, 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_commands_on_disks_that_fail(trained, tiny_dataset, tmp_path, shim, name):
    for fault, (calls, number, spared) in FAULTS.items():
        folder = tmp_path / fault
        folder.mkdir()
        out = folder / "out"
        if name == "report":
            shutil.copytree(trained / "results", out)
        command = [sys.executable, *arguments(name, tiny_dataset, trained, out)]
        failing = environment(LD_PRELOAD=str(shim), FAULT=f"{calls}:{number}:{spared}:{folder}")
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=failing, check=False)
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in done.stderr, (fault, done.stderr)
        assert "UnraisableException" not in done.stderr, (fault, done.stderr)
        if done.returncode:  # some commands make none of these calls
            assert done.returncode == 2, (fault, done.stderr)
            assert len(said) == 1, (fault, done.stderr)
            assert str(folder) in said[0], (fault, said)
        if fault in ("write", "gone") and done.returncode:
            if (tmp_path / "gone.gone").exists():
                shutil.rmtree(folder, ignore_errors=True)
                (tmp_path / "gone.gone").rename(folder)
            again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
            assert again.returncode == 0, (fault, again.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "linear", "report", "phantom"])
def test_commands_on_full_disks(trained, tiny_dataset, mount, name):
    folder = mount("size=1m,nr_inodes=60")
    if name == "report":
        shutil.copytree(trained / "results", folder / "out")
    fill(folder, names=True)
    command = [sys.executable, *arguments(name, tiny_dataset, trained, folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 2, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "No space left on device for another file" in said
    assert str(folder) in said


def test_a_full_shared_memory_is_told_as_that(tiny_dataset, tmp_path):
    """loky's semaphores lie there: in a mount namespace of its own, where one may be had."""
    command = [sys.executable, *arguments("build", tiny_dataset, tmp_path, tmp_path / "out")]
    command[command.index("--workers") + 1] = "2"
    command[command.index("--shard-images") + 1] = "8"
    script = 'mount -t tmpfs -o size=4k,nr_inodes=2 tmpfs /dev/shm && touch /dev/shm/full; exec "$@"'
    unshare = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("needs the right to a mount namespace")
    done = subprocess.run(unshare, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: /dev/shm: the shared memory that processes pass data through is full" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_a_user_without_a_home(trained, tiny_dataset, tmp_path, name):
    """No ``HOME``, and no entry in the list of users, as in many a container."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs the right to become another user")
    tmp_path.chmod(0o777)
    for parent in (tiny_dataset.parent, tmp_path.parent, trained):
        for folder in (parent, *parent.parents):
            if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
                folder.chmod(0o755)
    out = tmp_path / "out"
    if name == "report":
        shutil.copytree(trained / "results", out)
        for path in (out, *out.rglob("*")):
            path.chmod(0o777)
    becoming = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    if subprocess.run([*becoming, "env", sys.executable, "-c", ""], check=False, capture_output=True).returncode:
        # This Python, or the project, lies in root's home: only reading is let through.
        becoming += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    bare = {
        key: value for key, value in environment().items() if key not in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME")
    }
    command = [*becoming, sys.executable, *arguments(name, tiny_dataset, trained, out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=bare, check=False)
    assert done.returncode == 0, done.stderr
