"""What a build is asked to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from shards.base.bounds import PositiveCount, Probability, Seed, Side, Workers
from shards.base.dataclass_io import check_fields
from shards.base.errors import DatasetOutput, OptionError, check_outside_datasets
from shards.sources.options import SourceOptions

Backend = Literal["loky", "dask", "ray"]


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Packs a chest X-ray release into a dataset folder."""

    source: Literal[
        "brax",
        "candid",
        "chexpert",
        "chexpert-plus",
        "covid",
        "dicom",
        "folder",
        "jsrt",
        "mimic",
        "montgomery",
        "nih",
        "objectcxr",
        "openi",
        "padchest",
        "rsna",
        "shenzhen",
        "siim",
        "table",
        "tbx11k",
        "vindr",
    ]
    """What the input is."""
    input: Path
    """Folder of the release, as it was unpacked, or a zip of it, which is read in place."""
    output: DatasetOutput
    """Dataset folder to write; an interrupted build there is continued."""
    name: str | None = None
    """Name of the dataset in its index; default: the output folder's."""
    size: Side = 320
    """Shorter side of the stored images in pixels; smaller sources keep their size."""
    square: bool = False
    """Keep the largest centred square of each image, so that both sides are of --size."""
    format: Literal["jpeg", "png"] | None = None
    """Stored format: gray baseline JPEG, or lossless PNG; default: JPEG, and PNG where --depth is 16."""
    depth: Literal[8, 16] = 8
    """Bits of a stored gray level; 16 keep what deep sources tell apart, in several times the bytes."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """JPEG quality."""
    split: str | None = None
    """Shares of train, valid and test in per cent, such as 70/10/20: draws splits by patient, for a source without its
    own. They stay as they are when images are added."""
    splits: Path | None = None
    """A list of splits, such as a paper's: a CSV with a column that names images, studies or patients, and a column
    split. Takes the place of the source's own splits; images that it does not name are refused, and a patient on both
    sides of a split is an error."""
    split_seed: Seed = 0
    """Which random split."""
    seed: Seed = 0
    """Seed of the one permutation of rows within each split."""
    shard_images: PositiveCount = 1024
    """Images a shard."""
    max_rejected: Probability = 0.01
    """Share of the images that may be rejected; above it the build fails (exit code 1), and keeps its work and the
    list of rejected images. Where the plan knows of so many already, nothing is packed (exit code 2)."""
    pseudonymise: Path | None = None
    """Key file: patient, study and path identifiers become keyed hashes, the same in every dataset of this key."""
    keep_text: bool = False
    """Keep indication and findings under --pseudonymise; they can hold names."""
    keep_labels: tuple[str, ...] = ()
    """The labels to keep under --pseudonymise of those named after folders or words of a list; default: all that at
    least 5 patients have (where patients are not known: none, if any is of under 5 images)."""
    workers: Workers = -1
    """Processes on this machine; -1 takes all cores. A cluster named by --address decides for itself."""
    backend: Backend = "loky"
    """loky: processes on this machine; dask, ray: the same, or a running cluster on shared storage."""
    address: str | None = None
    """Dask scheduler (tcp://host:8786) or Ray cluster (auto, ray://host:10001) to run on."""
    source_options: tyro.conf.OmitArgPrefixes[SourceOptions] = field(default_factory=SourceOptions)


def check_build(config: BuildConfig) -> None:
    """Refuses settings out of range, an output inside another dataset, and one inside an input that is read as it lies,
    without a list of its images.

    Raises:
        InputError: naming the field.
    """
    check_fields(config, "--")
    check_outside_datasets(config.output, may_be_dataset=True)
    is_walked = config.source in ("dicom", "folder") and not config.output.exists()
    if is_walked and config.input.resolve() in config.output.resolve().parents:
        raise OptionError(f"--output {config.output}: lies in the folder of --input; give a folder outside it")
