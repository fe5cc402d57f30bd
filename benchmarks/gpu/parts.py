"""The parts of the prepared run in order of worth, and how much work they do. Free of torch."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.settings import PartName
from pipeline.options import EngineName

ENGINES: tuple[EngineName, ...] = ("resident", "dali", "kornia")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much work the parts do."""

    images: int
    """Phantom images of the dataset, where none is given."""
    height: int
    """Their height in pixels, and the side of the views of step and throughput."""
    side: int
    """Side of the views where only correctness is asked for, in pixels."""
    batch: int
    small_batch: int
    """Of those where only correctness is asked for."""
    queue: int
    small_queue: int
    turns: int
    epochs: int
    """Of the runs that throughput is read off."""
    checkpoint_every: int
    """Steps of the run that is stopped and resumed; it lasts twice as long at least."""
    loader_sizes: tuple[int, ...] = field(default=(224, 320))


ON_GPU = Sizes(
    images=8192,
    height=320,
    side=128,
    batch=256,
    small_batch=64,
    queue=24_576,
    small_queue=256,
    turns=5,
    epochs=4,
    checkpoint_every=50,
)
ON_CPU = Sizes(
    images=64,
    height=64,
    side=32,
    batch=8,
    small_batch=8,
    queue=1024,
    small_queue=64,
    turns=1,
    epochs=1,
    checkpoint_every=6,
    loader_sizes=(64,),
)
CPU_PATIENCE = 10  # times the limits of a GPU


def sizes_of(device: str) -> Sizes:
    """Full sizes on a GPU, small ones on a CPU."""
    return ON_CPU if device == "cpu" else ON_GPU


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process; ``seconds`` is its limit on a GPU."""

    name: PartName
    about: str
    seconds: int


PARTS = (
    Part(name="machine", about="what is here", seconds=20),
    Part(name="smoke", about="each engine's views beside the CPU's, again, and in another batch size", seconds=60),
    Part(name="tests", about="the tests marked gpu", seconds=150),
    Part(name="data", about="phantom images for the parts below", seconds=60),
    Part(name="waits", about="what of a training step waits for the device", seconds=45),
    Part(name="resume", about="a run that is stopped and resumed beside one that is not", seconds=120),
    Part(name="step", about="a ResNet18 step at 320 px, by part, beside a plain one", seconds=60),
    Part(name="throughput", about="a pretraining run at 320 px with each engine", seconds=90),
    Part(name="loader-resident", about="resident engine, alone and beside a step", seconds=45),
    Part(name="loader-dali", about="DALI engine, likewise", seconds=45),
    Part(name="loader-kornia", about="Kornia engine, likewise", seconds=45),
    Part(name="hotpath", about="momentum update, queue and loss, and their share of a step", seconds=60),
)


def result_path(folder: Path, part: str, device: str) -> Path:
    """The result file of a part."""
    return folder / f"{part}-{device}.json"
