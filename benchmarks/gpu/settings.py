"""What the prepared run is asked for. Free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

PartName = Literal[
    "machine",
    "smoke",
    "tests",
    "data",
    "waits",
    "resume",
    "step",
    "throughput",
    "loader-resident",
    "loader-dali",
    "loader-kornia",
    "hotpath",
]


@dataclass(frozen=True, kw_only=True)
class GpuConfig:
    """What is run, and for how long."""

    output: Path
    """Folder of results and logs. The same command again goes on with what is missing."""
    minutes: Annotated[float, Field(gt=0, le=1e4)] = 10.0
    """Time for all parts together. A part that no time is left for is told, and comes next time."""
    device: str = "cuda"
    """cpu tries the whole of it without a GPU, in small sizes."""
    only: tuple[PartName, ...] = ()
    """These parts, also where they have been done; default: all that have not."""
    data: Path | None = None
    """A packed dataset; default: phantom images, made on the spot."""
    archive: Path | None = None
    """A .tar.gz that holds results and logs, written anew after each part; default: none."""
