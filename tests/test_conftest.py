"""What runs of tests and the processes that they start see of a machine's GPU, and where they find modules."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TESTS = """
import os, subprocess, sys
import pytest

SEEN = "import os, found_by_path; print(os.environ['CUDA_VISIBLE_DEVICES'] or 'none')"

def seen_by_a_child():
    return subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True).stdout.strip()

def test_plain():
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert seen_by_a_child() == "none"

@pytest.mark.gpu
def test_marked():
    assert seen_by_a_child() == "0"
"""


@pytest.fixture
def outcome(tmp_path: Path) -> object:
    """Runs the two tests, where torch sees a GPU or not, and says how they ended."""
    (tmp_path / "test_both.py").write_text(TESTS)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "found_by_path.py").touch()

    def run(*options: str, has_gpu: bool) -> str:
        (tmp_path / "torch.py").write_text(f"class cuda:\n    is_available = staticmethod(lambda: {has_gpu})\n")
        path = os.pathsep.join([str(tmp_path / "path"), os.environ["PYTHONPATH"]])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), *options]
            + ["--rootdir", str(tmp_path), "-p", "no:cacheprovider", "test_both.py"],
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "0", "PYTHONPATH": path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.stdout

    return run


def test_a_gpu_is_hidden_from_tests_that_are_not_marked_and_from_their_children(outcome) -> None:
    said = outcome(has_gpu=True)
    assert "1 passed, 1 skipped" in said
    assert "in a run of their own: make test-gpu" in said


def test_marked_tests_see_the_gpu_in_a_run_of_their_own(outcome) -> None:
    assert "1 passed, 1 deselected" in outcome("-m", "gpu", has_gpu=True)
    assert "no CUDA device" in outcome("-m", "gpu", has_gpu=False)


def test_nothing_is_told_anew_in_tests_what_is_told_here() -> None:
    """Where processes find modules, to which a test may add, and whether there is a GPU to skip for."""
    ours = ("conftest.py", "test_conftest.py", "test_wheel.py")  # the last finds what is installed, and not the project
    others = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in ours]
    texts = {path.relative_to(ROOT): path.read_text() for path in others}
    adds = ('environ.get("PYTHONPATH"', 'environ["PYTHONPATH"]')
    assert not [path for path, text in texts.items() if "PYTHONPATH" in text and not any(each in text for each in adds)]
    assert not [path for path, text in texts.items() if "skipif(torch.cuda" in text or "skipif(not torch.cuda" in text]
