import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import train
from tests.conftest import ROOT


def test_no_file_bears_the_name_of_another_module() -> None:
    """The launcher and plain python put train/ first on the import path: such a file would be imported instead."""
    folder = Path(train.__file__).parent
    names = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert not names & (set(sys.stdlib_module_names) | packages_distributions().keys())


def test_a_second_clone_runs_its_own_code(tmp_path: Path) -> None:
    """Also where the path of imports names another one, as this one is for what tests start."""
    for name in ("train", "shards", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    command = tmp_path / "train" / "settings" / "command.py"
    command.write_text(command.read_text().replace("usage: ", "usage of the second clone: "))
    line = [sys.executable, str(tmp_path / "train" / "pretrain.py"), "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("usage of the second clone: ")
