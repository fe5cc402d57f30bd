"""A wheel, built from the source distribution, holds the packages whole and works, with a compiler and without."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_layout import PACKAGES

pytestmark = pytest.mark.slow
LEFT_OUT = shutil.ignore_patterns(".*", "*.so", "*.egg-info", "__pycache__", "build", "dist", "site", "demo", "runs")
PREVIEW = """
import sys
import numpy as np
from pipeline.engines.warps import is_compiled, make_views
out = np.zeros((1, 4, 4), dtype=np.float32)
pixels, inverses = np.full((8, 8), 100, dtype=np.uint8), np.eye(3)[None, :2].copy()
make_views(pixels, inverses, out, fill=0, tones=np.ones((1, 3)), sigmas=np.zeros(1))
print(is_compiled(), out.min(), out.max())
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "project", ignore=LEFT_OUT)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=folder / "project", check=True, capture_output=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "source", filter="data")
    [found] = (folder / "source").iterdir()
    return found


def run(*words: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        [sys.executable, *words], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("compiler", ["", "/bin/false"])
def test_an_installed_wheel_works_from_any_folder(source: Path, tmp_path: Path, compiler: str) -> None:
    pip = ["-m", "pip", "--disable-pip-version-check"]
    variables = {"CC": compiler} if compiler else {}
    project = shutil.copytree(source, tmp_path / "project")  # where pip leaves what it has compiled
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(project), **variables)
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    files = {path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".css", ".js")}
    files |= set((ROOT / "eval").rglob("*.jinja"))
    assert {str(path.relative_to(ROOT)) for path in files} <= held
    assert any(name.endswith(".so") for name in held) == (not compiler)
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(tmp_path / "installed"), str(wheel))
    own = {"PYTHONPATH": str(tmp_path / "installed")}
    assert "moco-cxr shards" in run("-P", "-m", "moco_cxr", "shards", "--help", **own)
    said = run("-P", "-c", PREVIEW, **own)
    assert f"{not compiler} 101.0 101.0" in said
    assert ("OpenCV warps the views instead" in said) == bool(compiler)
