"""Data for benchmarks that were given none: a packed dataset of phantoms, or for ready-made views an index alone."""

from pathlib import Path
from typing import Any

import numpy as np

from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.phantom.config import PhantomConfig
from shards.phantom.write import write_phantom

_IMAGES_A_PATIENT = 3.0  # 3.46 on average; the draw decides


def build_phantom_dataset(folder: Path, *, num_images: int, size: int) -> Path:
    """Draws and packs at least ``num_images`` CheXpert-like images ``size`` px high below ``folder``.

    About 50 images a second a core at 320 px: 20 seconds on two cores for 2,048 images of some 30 kB.
    """
    patients = round(num_images / _IMAGES_A_PATIENT) + 10
    config = PhantomConfig(
        output=folder / "phantom", chexpert_patients=patients, chexpert_valid_patients=0, size=size, shenzhen_images=0
    )
    write_phantom(config)
    source = folder / "phantom" / "CheXpert-v1.0-small"
    build_dataset(BuildConfig(source="chexpert", input=source, output=folder / "data", size=size))
    assert len(ShardIndex.open(folder / "data")) >= num_images
    return folder / "data"


class PatientRows:
    """What a trainer reads of an index, without a dataset: ``num_rows`` images, of as many patients."""

    def __init__(self, num_rows: int) -> None:
        self.rows = np.arange(num_rows)

    def __len__(self) -> int:
        return len(self.rows)

    def patients(self) -> Any:
        """A number for each row's patient (N,)."""
        return self.rows
