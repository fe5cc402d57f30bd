"""``moco-cxr doctor``: what this machine has, what is missing, and the command that mends it."""

import importlib
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from shards.base.disk import SHARED_MEMORY
from shards.base.errors import InputError
from shards.base.facts import available_memory, num_cores, processor, versions
from shards.base.words import as_size

_DISTRIBUTION = "moco-cxr"
_INSTALLS_AGAIN = f"pip install --force-reinstall --no-deps {_DISTRIBUTION}, where there is a C compiler"
_LEAST_FILES, _LEAST_SHARED = 4096, 1 << 30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``state`` of what was looked at: it is there, would help, or is needed; ``told`` in words, with the remedy."""

    state: Literal["ok", "note", "missing"]
    what: str
    told: str


def main() -> int:
    """Prints what is found; 1 where something is missing that is needed.

    Raises:
        InputError: arguments, which it has none of.
    """
    if sys.argv[1:] in (["-h"], ["--help"]):
        print("usage: moco-cxr doctor\n\nPrints what this machine has and what is missing; exit code 1 if anything is")
        return 0
    if len(sys.argv) > 1:
        raise InputError(f"{sys.argv[1]}: doctor takes no arguments")
    is_whole = True
    for finding in look():
        is_whole &= finding.state != "missing"
        print(f"{finding.state:8}{finding.what:16}{finding.told}", flush=True)
    return 0 if is_whole else 1


def look() -> Iterator[Finding]:
    """Everything that is looked at, in the order of packages, devices, engines, decoders and room."""
    yield from _packages()
    yield _finding("processor", f"{processor()}, {num_cores()} cores for this process")
    yield from _gpus()
    yield _kernel()
    from pipeline.engines.choice import has_dali

    if has_dali():
        yield _imported("DALI", "nvidia.dali", remedy="pip install --force-reinstall nvidia-dali-cuda130")
    yield from _decoders()
    yield from _room()


def _packages() -> Iterator[Finding]:
    try:
        needed = [Requirement(line) for line in requires(_DISTRIBUTION) or ()]
    except PackageNotFoundError:
        remedy = "pip install --editable . in the folder with pyproject.toml"
        yield Finding(state="missing", what="installation", told=f"{_DISTRIBUTION} is not installed; {remedy}")
        return
    yield _finding(_DISTRIBUTION, f"{version(_DISTRIBUTION)}, Python {versions(['python'])['python']}")
    always = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [one for one in always if not _is_met(one)]
    for one in wrong:
        found = versions([one.name]).get(one.name, "not installed")
        remedy = f"pip install '{one.name}{one.specifier}'"
        yield Finding(state="missing", what="package", told=f"{one.name}: {found}; {remedy}")
    if not wrong:
        yield _finding(
            "packages", f"all {len(always)} that are needed, torch {versions(['torch'])['torch']} among them"
        )
    extras: dict[str, list[Requirement]] = {}
    for one in needed:
        for extra in _EXTRAS:
            if one not in always and one.marker is not None and one.marker.evaluate({"extra": extra}):
                extras.setdefault(extra, []).append(one)
    for extra, about in _EXTRAS.items():
        if all(map(_is_met, extras.get(extra, ()))):
            yield _finding(f"[{extra}]", about)
        else:
            told = f"not installed: {about}; pip install '{_DISTRIBUTION}[{extra}]'"
            yield Finding(state="note", what=f"[{extra}]", told=told)


_EXTRAS = {
    "train": "pretraining (DeepSpeed, TensorBoard)",
    "dali": "decoding on the GPU",
    "report": "report pages and plots",
    "onnx": "export to ONNX",
    "s3": "datasets in S3",
    "dask": "packing on a Dask cluster",
    "ray": "packing on a Ray cluster",
    "imagenet-lite": "ImageNet weights of EfficientNet-Lite0, with no network",
    "wandb": "metrics to Weights & Biases",
    "mlflow": "metrics to MLflow",
    "xrv": "models of torchxrayvision as starts to compare with",
    "bench-peers": "other loaders and trainers beside ours in benchmarks",
}


def _is_met(one: Requirement) -> bool:
    found = versions([one.name]).get(one.name)
    return found is not None and one.specifier.contains(found, prereleases=True)


def _gpus() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            free, _ = torch.cuda.mem_get_info(number)
            told = f"{about.name}, {as_size(free)} of {as_size(about.total_memory)} free, CUDA {torch.version.cuda}"
            yield _finding(f"GPU {number}", told)
    elif shutil.which("nvidia-smi"):
        told = (
            f"nvidia-smi is there, but torch {torch.__version__} finds none: see whether nvidia-smi lists one, whether "
        )
        told += f"its driver knows CUDA {torch.version.cuda}, and what CUDA_VISIBLE_DEVICES says"
        yield Finding(state="note", what="GPU", told=told)
    else:
        yield Finding(
            state="note", what="GPU", told="none: everything runs on the processor, and training takes longer"
        )


def _kernel() -> Finding:
    from pipeline.engines.warps import is_compiled

    if is_compiled():
        return _finding("warp kernel", "loads")
    told = f"not compiled: OpenCV warps the views, more slowly; {_INSTALLS_AGAIN}"
    return Finding(state="note", what="warp kernel", told=told)


def _imported(what: str, module: str, *, remedy: str) -> Finding:
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        return Finding(state="missing", what=what, told=f"cannot be loaded ({error}); {remedy}")
    return _finding(what, "loads")


def _decoders() -> Iterator[Finding]:
    yield _imported("JPEG", "simplejpeg", remedy="pip install simplejpeg")
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder

    for what, syntaxes, remedy in (
        (
            "DICOM JPEG",
            (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1),
            "python-gdcm",
        ),
        ("DICOM JPEG-LS", (uid.JPEGLSLossless, uid.JPEGLSNearLossless), "pyjpegls"),
        ("DICOM J2K", (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2K), "pylibjpeg-openjpeg"),
        ("DICOM RLE", (uid.RLELossless,), "pylibjpeg-rle"),
    ):
        lacking = [syntax.name for syntax in syntaxes if not get_decoder(syntax).is_available]
        if lacking:
            yield Finding(state="missing", what=what, told=f"no decoder of {', '.join(lacking)}; pip install {remedy}")
        else:
            yield _finding(what, "decoded")


def _room() -> Iterator[Finding]:
    yield _finding("memory", f"{as_size(available_memory())} free")
    for what, folder in (("disk here", Path.cwd()), ("disk for temp", Path(tempfile.gettempdir()))):
        yield _finding(what, f"{as_size(shutil.disk_usage(folder).free)} free")
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        remedy = (
            "" if free > _LEAST_SHARED else f"; enlarge it: mount -o remount,size=8G {SHARED_MEMORY}, docker --shm-size"
        )
        yield Finding(state="note" if remedy else "ok", what="shared memory", told=f"{as_size(free)} free{remedy}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < _LEAST_FILES:
        told = f"{most} at a time; datasets of more shards ask for more: ulimit -Hn {_LEAST_FILES}"
        yield Finding(state="note", what="open files", told=told)


def _finding(what: str, told: str) -> Finding:
    return Finding(state="ok", what=what, told=told)
