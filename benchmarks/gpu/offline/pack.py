"""One file for a machine with a GPU and no network: the project, the packages that it needs, and the command.

    python -m benchmarks gpu-pack --there freeze.txt --python 3.12 --sm 90 --output hour.tar.xz
    tar -xJf hour.tar.xz && hour/run --minutes 10 --output results          # there

Versions are those installed here. Packages come by pip for the Python there; DeepSpeed, which ships as source, as it
is here, without the operators that it would compile. ``--sm`` makes the file several times smaller.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from benchmarks.gpu.offline.needs import needed, packages_there
from benchmarks.gpu.offline.thin import thin_libraries
from shards.base.errors import InputError

_ROOT = Path(__file__).parents[3]
_PROJECT = ("shards", "pipeline", "train", "eval", "benchmarks", "tests", "pyproject.toml", "constraints.txt")
_AS_INSTALLED = ("deepspeed",)
_GLIBC = (39, 35, 34, 31, 28, 27, 24, 17, 12)  # of wheels for Linux; pip takes each exactly
_UNOPENED = (  # files of packages that only building, typing and testing would open
    "nvidia/dali/include",
    "nvidia/nvimgcodec/include",
    "nvidia/nvimgcodec/tools",
    "nvidia/cu13/include",
    "bin",
)
_RUN = """#!/usr/bin/env bash
# The prepared run, without network: hour/run --minutes 10 --output FOLDER [--archive FILE.tar.gz] ...
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/project:$here/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-python3}" -P -m benchmarks gpu "$@"
"""


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What is packed, for which machine."""

    output: Path
    """The file, .tar.xz."""
    there: Path | None = None
    """A file with the packages there, as pip list or pip freeze prints them; default: torch, torchvision and theirs."""
    python: Literal["3.11", "3.12", "3.13"] = "3.12"
    """Version of Python there."""
    sm: Annotated[int, Field(ge=0, le=200)] = 0
    """Compute capability of the GPU, as 80 (A100) or 90 (H100): device code for others is left out; 0 keeps all."""
    data: Path | None = None
    """A packed dataset to take along as hour/data; default: none, phantoms are made there."""


def pack(config: PackConfig) -> str:
    """Writes the file, and says what it holds.

    Raises:
        InputError: no such list or dataset, or a package that pip cannot get for the Python there.
    """
    names = needed(_there(config), python=config.python)
    with tempfile.TemporaryDirectory() as folder:
        hour = Path(folder) / "hour"
        site = hour / "site"
        site.mkdir(parents=True)
        _download({name: names[name] for name in names if name not in _AS_INSTALLED}, site, config.python)
        for name in _AS_INSTALLED:
            if name in names:
                _copy_installed(name, site)
        _trim(site, config.python)
        if config.sm:
            thin_libraries(site, config.sm)
        _copy_project(hour / "project")
        if config.data is not None:
            if not (config.data / "dataset.json").is_file():
                raise InputError(f"--data {config.data}: no packed dataset there")
            shutil.copytree(config.data, hour / "data")
        (hour / "run").write_text(_RUN)
        (hour / "run").chmod(0o755)
        _compress(hour, config.output)
    size = config.output.stat().st_size / 2**20
    listed = ", ".join(f"{name} {version}" for name, version in names.items())
    return f"{config.output}: {size:.1f} MiB, for Python {config.python}; with {listed}"


def _there(config: PackConfig) -> frozenset[str]:
    if config.there is None:
        return frozenset(needed((), python=config.python, roots=("torch", "torchvision")))
    try:
        return packages_there(config.there.read_text())
    except OSError as error:
        raise InputError(f"--there {config.there}: {error.strerror}; give what pip freeze prints there") from None


def _download(names: dict[str, str], site: Path, python: str) -> None:
    platforms = [f"manylinux_2_{number}_x86_64" for number in _GLIBC] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
    with tempfile.TemporaryDirectory() as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", wheels]
        command += ["--python-version", python, "--implementation", "cp"]
        command += [word for platform in platforms for word in ("--platform", platform)]
        done = subprocess.run([*command, *(f"{name}=={version}" for name, version in names.items())], check=False)
        if done.returncode:
            raise InputError(f"--python {python}: pip could not get a package for it, see above")
        for wheel in sorted(Path(wheels).glob("*.whl")):
            shutil.unpack_archive(wheel, site, "zip")


def _copy_installed(name: str, site: Path) -> None:
    about = distribution(name)
    for file in about.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(about.locate_file(file)), target)


def _trim(site: Path, python: str) -> None:
    """Leaves out what is for other Pythons, for compilers or for typing."""
    ours = f".cpython-{python.replace('.', '')}-"
    for path in site.rglob("*.cpython-3*.so"):
        if ours not in path.name:
            path.unlink()
    for path in [*site.rglob("*.pyi"), *site.glob("*.data")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in _UNOPENED:
        shutil.rmtree(site / name, ignore_errors=True)
    namespace = site / "nvidia"
    if namespace.is_dir():  # torch's own libraries are in one of the same name there
        text = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n'
        (namespace / "__init__.py").write_text(text)


def _copy_project(folder: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in _PROJECT:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=skipped)
        elif source.is_file():
            shutil.copyfile(source, folder / name)
    engines = folder / "pipeline" / "engines"
    flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, "-o", engines / "_affine.so", engines / "affine.c"], check=True)


def _compress(hour: Path, output: Path) -> None:
    """By xz, whose filter for machine code takes a tenth off libraries; two threads halve the minutes."""
    output.parent.mkdir(parents=True, exist_ok=True)
    plain = hour.parent / "hour.tar"
    with tarfile.open(plain, "w") as tar:
        tar.add(hour, arcname="hour", filter=_nobody)
    options = ["--x86", "--lzma2=preset=9e,dict=256MiB"]
    with output.open("wb") as file:
        subprocess.run(["xz", "-T2", "--block-size=256MiB", *options, "-c", plain], stdout=file, check=True)


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same file from the same files, whoever packs them and when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
