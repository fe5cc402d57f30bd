"""What a build is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from shards.base.errors import InputError
from shards.sources.options import SourceOptions

Backend = Literal["loky", "dask", "ray"]


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Packs a chest X-ray release into a dataset folder."""

    source: Literal["chexpert", "dicom", "folder", "mimic", "montgomery", "nih", "shenzhen", "table"]
    """What the input is."""
    input: Path
    """Folder of the release, as it was unpacked, or a zip of it, which is read in place."""
    output: Path
    """Dataset folder to write; an interrupted build there is continued."""
    name: str | None = None
    """Name of the dataset in its index; default: the output folder's."""
    size: int = 320
    """Shorter side of the stored images in pixels; smaller sources keep their size."""
    square: bool = False
    """Keep the largest centred square of each image, so that both sides are of --size."""
    format: Literal["jpeg", "png"] = "jpeg"
    """Stored format: gray baseline JPEG, or lossless PNG."""
    quality: int = 95
    """JPEG quality."""
    split: str | None = None
    """Shares of train, valid and test in per cent, such as 70/10/20: draws splits by patient, for a source without its
    own. They stay as they are when images are added."""
    split_seed: int = 0
    """Which random split."""
    seed: int = 0
    """Seed of the one permutation of rows within each split."""
    shard_images: int = 1024
    """Images a shard."""
    max_rejected: float = 0.01
    """Share of the images that may be rejected; above it the build fails (exit code 1), and keeps its work and the
    list of rejected images."""
    pseudonymise: Path | None = None
    """Key file: patient, study and path identifiers become keyed hashes, the same in every dataset of this key."""
    keep_text: bool = False
    """Keep indication and findings under --pseudonymise; they can hold names."""
    keep_labels: tuple[str, ...] = ()
    """The labels to keep under --pseudonymise of those named after folders or words of a list; default: all that at
    least 5 patients have (where patients are not known: none, if any is of under 5 images)."""
    workers: int = -1
    """Processes on this machine; -1 takes all cores. A cluster named by --address decides for itself."""
    backend: Backend = "loky"
    """loky: processes on this machine; dask, ray: the same, or a running cluster on shared storage."""
    address: str | None = None
    """Dask scheduler (tcp://host:8786) or Ray cluster (auto, ray://host:10001) to run on."""
    source_options: tyro.conf.OmitArgPrefixes[SourceOptions] = field(default_factory=SourceOptions)


def check_build(config: BuildConfig) -> None:
    """Refuses settings out of range.

    Raises:
        InputError: naming the field.
    """
    if config.shard_images < 1:
        raise InputError(f"--shard-images {config.shard_images}: must be at least 1")
    if config.workers == 0 or config.workers < -1:
        raise InputError(f"--workers {config.workers}: must be -1 (all cores) or at least 1")
    if not 0.0 <= config.max_rejected <= 1.0:
        raise InputError(f"--max-rejected {config.max_rejected}: must be a share from 0 to 1")
