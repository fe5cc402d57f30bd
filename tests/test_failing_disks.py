"""Disks that fail under each command as a process: calls that fail by ``tests/disk.c``, loaded before the C library;
disks that are full; no shared memory; no home."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shards.checks.verify import verify_dataset
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
    "later": ("write", errno.ENOSPC, 40),
    "gone later": ("write,create,mkdir", 0, 40),
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
        if fault in ("write", "gone later") and done.returncode:
            gone = folder.with_name(f"{folder.name}.gone")
            if gone.exists():  # comes back
                shutil.rmtree(folder, ignore_errors=True)
                gone.rename(folder)
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


def in_namespace(*options: str, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """A command in namespaces of its own, where such may be had."""
    unshare = ["unshare", *options]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("needs the right to namespaces")
    bare = {name: value for name, value in environment().items() if name not in ("HOME", "USER", "LOGNAME")}
    return subprocess.run([*unshare, *command], capture_output=True, text=True, cwd=ROOT, env=bare, check=False)


@pytest.mark.slow
def test_a_full_shared_memory_is_told_as_that(tiny_dataset, tmp_path):
    """PyTorch's tensors lie there between processes; loky's semaphores too, without which a build takes threads."""
    small = (
        "mount -t tmpfs -o size=64k,nr_inodes=9 tmpfs /dev/shm; for i in 1 2 3 4 5 6 7 8; do : > /dev/shm/$i; done; "
    )
    building = arguments("build", tiny_dataset, tmp_path, tmp_path / "out")
    building[building.index("--workers") + 1] = "2"
    building[building.index("--shard-images") + 1] = "8"
    command = ["sh", "-c", small + 'exec "$@"', "sh", sys.executable]
    done = in_namespace("--mount", command=[*command, *building])
    assert done.returncode == 0, done.stderr
    assert verify_dataset(tmp_path / "out", workers=1).damages == ()
    share = (
        "import torch; from shards.base.errors import run_command; "
        "run_command(lambda: torch.zeros(10**6).share_memory_() is None)"
    )
    for script in (small, "mount -t tmpfs -o size=64k tmpfs /dev/shm; "):
        done = in_namespace("--mount", command=["sh", "-c", script + 'exec "$@"', "sh", sys.executable, "-c", share])
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: /dev/shm: the shared memory that processes pass data through is full")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_a_user_without_a_home(trained, tiny_dataset, tmp_path, name):
    """No ``HOME``, and no entry in the list of users, as in many a container."""
    if name == "report":
        shutil.copytree(trained / "results", tmp_path / "out")
    command = [sys.executable, *arguments(name, tiny_dataset, trained, tmp_path / "out")]
    done = in_namespace("--user", "--map-user=54321", "--map-group=54321", command=command)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_cache_needs_a_home_or_a_name():
    command = [sys.executable, "-m", "shards", "stats", "http://127.0.0.1:1/tiny"]
    done = in_namespace("--user", "--map-user=54321", "--map-group=54321", command=command)
    assert done.returncode == 2
    assert done.stderr == "error: MOCO_CXR_CACHE: not set, and this user has no home; name a folder for the cache\n"
