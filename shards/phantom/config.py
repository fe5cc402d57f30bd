"""What a phantom is asked to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shards.base.bounds import Seed, Workers
from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError

_Number = Annotated[int, Field(ge=0, le=10_000_000)]
_Side = Annotated[int, Field(ge=32, le=4096, description="in pixels")]


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Draws phantom CheXpert, MIMIC-CXR and Shenzhen folders."""

    output: Path
    """Folder to write CheXpert-v1.0-small/, MIMIC-CXR-JPG/ and Shenzhen/ into; made if absent."""
    seed: Seed = 0
    """The same seed gives the same bytes, whatever the number of workers."""
    chexpert_patients: _Number = 1000
    """Training patients of the CheXpert-like folder; each has 2.9 studies and 3.5 images on average, as released."""
    chexpert_valid_patients: _Number = 200
    """Validation patients, one study each; 0 writes an empty valid.csv."""
    mimic_patients: _Number = 0
    """Patients of the MIMIC-CXR-like folder, with reports whose indications tell part of the labels; each has 3.5
    studies and 5 images on average. 0 leaves the folder out."""
    shenzhen_images: _Number = 662
    """Images of the Shenzhen-like folder, 51 % of them with tuberculosis; 0 leaves the folder out."""
    size: _Side = 320
    """Shorter side of the CheXpert-like images in pixels; most are then 390 x 320."""
    mimic_size: _Side = 320
    """Shorter side of the MIMIC-like images in pixels; real ones have some 2500."""
    shenzhen_size: _Side = 512
    """Shorter side of the Shenzhen-like images in pixels, give or take a few per cent; real ones have up to 3000."""
    workers: Workers = -1
    """Processes to draw with; -1 takes one for each core."""


def check_phantom(config: PhantomConfig) -> None:
    """Refuses settings that nothing can be drawn by.

    Raises:
        InputError: naming the field.
    """
    check_fields(config, "--")
    asked = ("chexpert_patients", "chexpert_valid_patients", "mimic_patients", "shenzhen_images")
    if not any(getattr(config, name) for name in asked):
        raise InputError(f"{', '.join(asked[:-1])} and {asked[-1]} are all 0: nothing to write")
    if config.output.exists() and not config.output.is_dir():
        raise InputError(f"output {config.output}: is a file; choose a folder")
