"""Commands that write, and disks that are full, closed to writing or short of names, where mounting is allowed."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shards.sealed import seal
from tests.train.runs import ENTRY

FAST = ["build", "subset", "merge", "stats", "preview"]
SLOW = ["views", "phantom", "export", "pretrain", "linear", "report", "draws", "benchmarks"]


@pytest.fixture(scope="session")
def material(tiny_dataset, tmp_path_factory):
    """Another dataset, a run and its results, as each command's arguments name them."""
    folder = tmp_path_factory.mktemp("disks")
    seal(shutil.copytree(tiny_dataset, folder / "other"), name="other")
    return folder


def environment(**more: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")} | {
        "OMP_NUM_THREADS": "1",
        **more,
    }


def arguments(name: str, data: Path, material: Path, out: Path) -> list[str]:
    """What stands behind ``python`` for a command that writes ``out``, a folder or what begins with it."""
    return [
        str(each)
        for each in {
            "build": [
                *("-m", "shards", "build", "--source", "folder", "--input", data.parent / "source", "--output", out),
                *("--size", 32, "--shard-images", 48, "--workers", 1, "--name", "made"),
            ],
            "subset": ["-m", "shards", "subset", data, "--where", "split=train", "--output", out],
            "merge": ["-m", "shards", "merge", data, material / "other", "--output", out],
            "stats": ["-m", "shards", "stats", data, "--output", f"{out}.json"],
            "preview": ["-m", "shards", "preview", data, "--output", f"{out}.png"],
            "views": ["-m", "pipeline", "preview", "--data", data, "--output", f"{out}.png"],
            "phantom": [
                *("-m", "shards", "phantom", "--output", out, "--size", 64, "--workers", 1),
                *("--chexpert-patients", 2, "--mimic-patients", 1, "--shenzhen-images", 2),
            ],
            "export": [
                *("-m", "train", "export", "--run", material / "run", "--format", "torchvision"),
                *("--output", f"{out}.safetensors"),
            ],
            "pretrain": [
                *(ENTRY, "debug", "--data", data, "--output", out),
                *("--run.epochs", 2, "--run.checkpoint-every", 3),
            ],
            "linear": [
                *("-m", "eval", "linear", "--run", material / "run", "--data", data, "--label", "blob"),
                *("--draws", 1, "--fraction", 1, "--output", out),
            ],
            "report": ["-m", "eval", "report", out, "--no-images"],
            "draws": ["-m", "eval", "draws", "export", "--data", data, "--label", "blob", "--output", f"{out}.parquet"],
            "benchmarks": ["-m", "benchmarks", "index", "--output", f"{out}.json"],
        }[name]
    ]


@pytest.fixture
def mount(tmp_path) -> Iterator[Callable[..., Path]]:
    """A file system in memory, ended behind the test."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def make(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount a small file system")
        return folder

    yield make
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, *, names: bool) -> None:
    try:
        for number in range(200):
            (folder / f"fill{number}").write_bytes(b"" if names else bytes(1 << 20))
    except OSError:
        return
    raise AssertionError("the disk is not full")
