"""What has to be brought to a machine: the packages that the project needs, less those that are there."""

import re
from collections.abc import Iterable
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PROJECT = "moco-cxr"
ROOTS = (f"{_PROJECT}[dali,train]", "pytest", "setuptools")
# What is imported or opened where it is used, and the prepared run uses none of: readers of DICOM and of rare pictures,
# other people's models, pages, data elsewhere; and of DALI other codecs and what serves its compiler of functions.
UNUSED = frozenset(
    {"python-gdcm", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "aiohttp"}
    | {"transformers", "tokenizers", "huggingface-hub", "matplotlib", "jinja2"}
    | {"nvidia-libnvcomp-cu13", "nvidia-nvjpeg2k-cu13", "nvidia-nvtiff-cu13", "nvtx", "makefun", "libcst"}
)


def packages_there(listing: str) -> frozenset[str]:
    """Names in the output of ``pip list`` or ``pip freeze`` there, or in a list of names with commas or line ends."""
    names = re.findall(r"(?:^|[\n,])\s*([A-Za-z0-9][\w.-]*)", listing)
    return frozenset(canonicalize_name(name) for name in names)


def needed(there: Iterable[str], *, python: str, roots: Iterable[str] = ROOTS) -> dict[str, str]:
    """Versions by name, as installed here, of what is not there; nothing is followed beyond what is there.

    Args:
        python: the version there, as ``3.12``.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    known = frozenset(there) | UNUSED
    found: dict[str, str] = {}
    open_ = [(canonicalize_name(root.name), frozenset(root.extras)) for root in map(Requirement, roots)]
    seen = set()
    while open_:
        name, extras = open_.pop()
        if name in known or (name, extras) in seen:
            continue
        seen.add((name, extras))
        about = distribution(name)
        if name != _PROJECT:
            found[name] = about.version
        for text in about.requires or ():
            requirement, chosen = Requirement(text), [environment | {"extra": extra} for extra in ("", *extras)]
            if requirement.marker is None or any(map(requirement.marker.evaluate, chosen)):
                open_.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return dict(sorted(found.items()))
