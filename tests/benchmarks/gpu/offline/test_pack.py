import shutil
import subprocess
import sys
import tarfile

import pytest

from benchmarks.gpu.offline import pack as offline
from benchmarks.gpu.offline.pack import PackConfig, pack
from shards.base.errors import InputError
from tests.conftest import ROOT


@pytest.fixture
def downloaded(monkeypatch):
    """Downloads nothing, but takes note of what would be."""
    names = {}

    def download(wanted, site, python):
        names.update(wanted)
        (site / "brought.py").touch()
        for version in ("311", "312"):
            (site / f"made.cpython-{version}-x86_64-linux-gnu.so").touch()

    monkeypatch.setattr(offline, "_download", download)
    return names


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("xz") and shutil.which("cc")), reason="needs xz and cc")
def test_the_file_runs_where_it_is_unpacked(downloaded, tmp_path):
    (tmp_path / "there.txt").write_text("torch==2.11\ndeepspeed==0.19\n")
    said = pack(PackConfig(output=tmp_path / "hour.tar.xz", there=tmp_path / "there.txt", python="3.12"))
    assert "for Python 3.12; with " in said
    assert "kornia" in downloaded
    assert not {"torch", "deepspeed"} & downloaded.keys()
    with tarfile.open(tmp_path / "hour.tar.xz") as archive:
        archive.extractall(tmp_path / "there", filter="data")
    hour = tmp_path / "there" / "hour"
    assert {path.name for path in (hour / "site").iterdir()} == {"brought.py", "made.cpython-312-x86_64-linux-gnu.so"}
    assert (hour / "project" / "eval" / "results" / "file.py").exists()
    assert (hour / "project" / "tests" / "conftest.py").exists()
    assert (hour / "project" / "pipeline" / "engines" / "_affine.so").exists()
    where = "import benchmarks, brought; print(benchmarks.__file__)"
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable}
    done = subprocess.run([hour / "run", "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--minutes" in done.stdout
    where = f"import sys; sys.path[:0] = {[str(hour / 'project'), str(hour / 'site')]}; {where}"
    done = subprocess.run([sys.executable, "-P", "-c", where], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(hour / "project" / "benchmarks" / "__init__.py"), done.stderr


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--there .*no.txt: No such file"):
        pack(PackConfig(output=tmp_path / "hour.tar.xz", there=tmp_path / "no.txt"))


def test_a_folder_that_is_no_dataset_is_named(downloaded, tmp_path):
    (tmp_path / "there.txt").write_text("deepspeed")
    with pytest.raises(InputError, match="no packed dataset there"):
        pack(PackConfig(output=tmp_path / "hour.tar.xz", there=tmp_path / "there.txt", data=tmp_path))
