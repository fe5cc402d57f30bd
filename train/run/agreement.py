"""What all ranks of a run must have alike before its first step: settings, data, software."""

import hashlib
from pathlib import Path
from typing import Any

import torch

import pipeline
import shards
import train
from shards.base.dataclass_io import to_mapping
from shards.base.facts import versions
from shards.index import ShardIndex
from train.settings.config import PretrainConfig

_OF_A_MACHINE = {"data", "loader.threads", "loader.resident_gb"}  # the data themselves are compared
_PACKAGES = ("moco-cxr", "torchvision", "deepspeed", "kornia")
_DIGITS = 12  # of a hash that are compared and shown


def facts_of_run(config: PretrainConfig, index: ShardIndex, *, precision: str) -> dict[str, str]:
    """By its name, what decides on the weights that come out; two ranks that train as one have it equal.

    Args:
        index: the rows that are trained on.
        precision: the precision that is used, resolved.
    """
    settings = {name: value for name, value in _flat(to_mapping(config)).items() if name not in _OF_A_MACHINE}
    return {
        **{f"--{name}": value for name, value in settings.items()},
        "precision": precision,
        "fingerprint of --data": ", ".join(fingerprint[:_DIGITS] for fingerprint in index.fingerprints),
        "selected rows": f"{len(index)} with hash {_rows_hash(index)}",
        "torch": torch.__version__,
        **versions(_PACKAGES),
        "the project's code": code_hash(),
    }


def code_hash() -> str:
    """A hash of the modules that pretraining runs: two copies of the project may bear one version."""
    found = hashlib.sha256()
    for package in (shards, pipeline, train):
        assert package.__file__ is not None
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:_DIGITS]


def _rows_hash(index: ShardIndex) -> str:
    """Of which images are trained on in which order, by their bytes, and whose they are."""
    found = hashlib.sha256(index.rows.tobytes())
    found.update(index.datasets.checksums[index.rows].tobytes())
    for name in ("key", "patient_id", "study_id"):
        found.update("\0".join(map(str, index.column(name))).encode())
    return found.hexdigest()[:_DIGITS]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: str(value)}
    return flat
