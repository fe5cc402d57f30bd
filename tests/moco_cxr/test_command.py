"""One command from any folder, whatever files lie there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moco_cxr.command import COMMANDS
from moco_cxr.packages import PACKAGES
from tests.conftest import ROOT

CALL = """
import contextlib, sys
from moco_cxr.command import main

def call(words):
    sys.argv = words
    with contextlib.suppress(SystemExit):
        main()
"""
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of someone's own research, whose files have our names."""
    for name in (*PACKAGES, "moco_cxr", "joblib", "deepspeed", "torch", "random"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')\n")
    return tmp_path


@pytest.fixture
def call(hostile: Path) -> Call:
    """As the installed script calls it, which puts no folder of the user on the import path."""

    def run(
        *words: str, path: Path = ROOT, code: str = "from moco_cxr.command import main; main()"
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", code, *words]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
        return subprocess.run(command, cwd=hostile, env=environment, capture_output=True, text=True, check=False)

    return run


def test_a_folder_with_files_of_our_names_is_no_trouble(call: Call) -> None:
    """Neither for a command nor for the help of any, each of which imports what it needs."""
    every = "; ".join(f"call(['moco-cxr', {name!r}, '--help'])" for name in COMMANDS)
    done = call(code=f"{CALL}\n{every}")
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"moco-cxr {name}" in done.stdout or name == "pretrain"
    assert "usage: python -m" not in done.stdout


def test_nor_is_it_for_the_processes_that_are_started(call: Call, tmp_path: Path) -> None:
    few = "--chexpert-patients 3 --chexpert-valid-patients 2 --shenzhen-images 0 --size 64"
    done = call("shards", "phantom", "--output", "ph", *few.split())
    assert done.returncode == 0, done.stderr
    build = ["shards", "build", "--source", "chexpert", "--input", "ph/CheXpert-v1.0-small", "--output", "data"]
    done = call(*build, "--workers", "2", "--size", "64")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "dataset.json").is_file()


def test_mistakes_are_one_line(call: Call) -> None:
    assert "error: evla: no such command; did you mean eval?" in call("evla").stderr
    done = call()
    assert done.returncode == 2
    assert all(name in done.stdout for name in COMMANDS)


def test_a_module_that_hides_ours_is_named(call: Call, hostile: Path) -> None:
    (hostile / "moco_cxr.py").unlink()
    (hostile / "moco_cxr").symlink_to(ROOT / "moco_cxr")
    done = call("shards", "stats", path=hostile)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {hostile / 'shards.py'}: is found first where moco_cxr's own package 'shards'")
    code = "import moco_cxr; moco_cxr.open_index"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=hostile, capture_output=True, text=True, check=False, env=os.environ
    )
    assert "ImportError: " in done.stderr
    assert "'shards' is to be imported; rename it" in done.stderr


@pytest.mark.parametrize(
    ("words", "module", "line"),
    [
        ("pretrain debug --data DATA --output run", "torch", "interrupted; repeat the command to go on"),
        ("benchmarks hotpath --quick --output out.json", "torch", "interrupted"),
        (
            "shards build --source folder --input DATA --output out",
            "joblib",
            "interrupted; repeat the command to go on",
        ),
        ("shards verify DATA", "numpy", "interrupted"),
    ],
)
def test_an_interrupt_of_imports_is_one_line(
    tiny_dataset: Path, tmp_path: Path, words: str, module: str, line: str
) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "moco_cxr", *words.replace("DATA", str(tiny_dataset)).split()],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert [each for each in done.stderr.splitlines() if not each.startswith("warning: ")][-1].startswith(line)
    assert "Traceback" not in done.stderr
