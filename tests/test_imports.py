"""What is imported where: decoders that few files need are not, until such a file comes."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

ABSENT = ("gdcm", "pydicom", "openjpeg", "jpeg_ls", "rle")
IMPORTS = """
import sys
from importlib import import_module

for name in {absent}:
    sys.modules[name] = None  # importing it is an error
for name in {modules}:
    import_module(name)
"""


def modules(*packages: str) -> list[str]:
    """All of these packages but the readers of DICOM themselves."""
    paths = (path.relative_to(ROOT) for package in packages for path in sorted((ROOT / package).rglob("*.py")))
    names = (".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)
    return [name for name in names if not name.startswith("shards.images.dicom.") or name.endswith(".signature")]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_shards_and_pipeline_import_no_decoder_of_dicom() -> None:
    done = run(IMPORTS.format(absent=ABSENT, modules=modules("shards", "pipeline")))
    assert done.returncode == 0, done.stderr


def test_an_import_of_one_is_noticed() -> None:
    done = run(IMPORTS.format(absent=ABSENT, modules=["shards.images.dicom.header"]))
    assert "import of pydicom halted" in done.stderr


def test_pictures_are_packed_and_read_without_them(tiny_dataset: Path, tmp_path: Path) -> None:
    """Also in processes of their own, which find packages of these names that cannot be imported."""
    for name in ABSENT:
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text("raise ImportError('absent')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "absent")!r})
from pathlib import Path
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset

source, output = Path({str(tiny_dataset.parent / "source")!r}), Path({str(tmp_path / "packed")!r})
report = build_dataset(BuildConfig(source="folder", input=source, output=output, size=64, workers=1))
assert (report.num_packed, report.num_rejected) == (96, 0), report
assert bytes(ShardIndex.open(output).read(0)).startswith(b"\\xff\\xd8")
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
