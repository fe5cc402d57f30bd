"""What each benchmark is asked to measure. Read before anything heavy is imported, so this needs no torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.views import PRESETS
from shards.base.bounds import Count, PositiveCount, Side, Threads, ThreadsOrAll, Width, Workers
from shards.base.errors import InputError
from shards.base.facts import num_cores

CHEXPERT_ROWS, CHEXPERT_PATIENTS, CHEXPERT_STUDIES, CHEXPERT_FRONTAL = 223_414, 64_540, 187_641, 191_027
Encoder = Literal["resnet18", "resnet50", "densenet121"]
Encoders = Annotated[tuple[Encoder, ...], Field(min_length=1)]
Sizes = Annotated[tuple[PositiveCount, ...], Field(min_length=1)]
Sides = Annotated[tuple[Side, ...], Field(min_length=1)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1)]
Turns = Annotated[int, Field(ge=1, le=10_000)]
# The trainer splits batch norm into 4 groups of at least 2.
Batch = Annotated[int, Field(ge=8, le=1_000_000, multiple_of=4)]
_Number = Annotated[int, Field(ge=1, le=1_000_000)]
_Gigabits = Annotated[float, Field(gt=0, le=1e9)]


@dataclass(frozen=True, kw_only=True)
class HotpathConfig:
    """Which grid is measured."""

    encoder: Encoders = ("resnet18", "resnet50", "densenet121")
    """Encoders for the momentum update."""
    queue: Sizes = (1024, 4096, 16_384, 65_536, 262_144)
    """Queue sizes for loss and enqueue."""
    batch: Sizes = (256,)
    """Batch sizes for loss and enqueue."""
    turns: Turns = 15
    """Turns each variant is timed."""
    compile: bool = True
    """Variants with torch.compile: half a minute of compilation each."""
    share: bool = True
    """The hot path as a share of a whole step."""
    step_encoder: Encoder = "resnet18"
    """Encoder of that step."""
    step_size: Side = 224
    """Its views, in pixels."""
    step_batch: Batch | None = None
    """Its batch; default: 256 on a GPU, 16 on a CPU, where a larger one takes minutes."""
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """One encoder, one queue, nothing compiled, few turns, a step at 64 px: under a minute, for a first look."""

    def resolved(self) -> "HotpathConfig":
        """The settings that ``quick`` stands for.

        Raises:
            InputError: a batch is larger than a queue.
        """
        config = self
        if self.quick:
            config = replace(
                self,
                encoder=self.encoder[:1],
                queue=(65_536,) if self.queue == HotpathConfig().queue else self.queue[:1],
                batch=self.batch[:1],
                turns=min(self.turns, 5),
                compile=False,
                step_size=64,
                step_batch=8,
            )
        batch, queue = max(config.batch), min(config.queue)
        if batch > queue:
            raise InputError(f"--batch {batch}: larger than --queue {queue}; raise the queue or lower the batch")
        return config


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """What a step is."""

    data: Path | None = None
    """A packed dataset for the loader; default: phantom images, made on the spot."""
    encoder: Encoder = "resnet18"
    size: Side = 320
    """Views, in pixels."""
    batch: Batch = 64
    queue: PositiveCount = 24_576
    """Keys in the queue."""
    turns: Turns = 15
    """Turns each variant is timed."""
    compile: bool = False
    """One more variant, with torch.compile."""
    profile: Path | None = None
    """Where to write a trace of three steps behind the measurements, phase by phase: a file .json or .json.gz."""
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """Views of 64 px, batch 16, three turns: some twenty seconds of a core, for a first look."""


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """Which images and views are measured, and how often."""

    data: Path | None = None
    """A packed dataset of JPEGs; default: phantom images 320 px high, drawn and packed on the spot (20 seconds on two
    cores for 2,048, as on 16 for 16,384)."""
    views: str = "moco_cxr"
    """View preset of our engines; their peers rotate, flip and crop in any case, but for lightly's own views."""
    size: Sides = (224, 320)
    """Sides of the views in pixels; a table for each."""
    batch: PositiveCount = 128
    """Images a batch."""
    images: Count = 0
    """Images a pass, at most the dataset's; 0 takes 2,048, and 16,384 on cuda, where a pass would else be too short."""
    turns: Turns = 5
    """Turns each variant is timed."""
    only: tuple[Literal["dali", "kornia", "resident"], ...] = ()
    """These engines and the limit, without their peers; default: all."""
    threads: ThreadsOrAll = 0
    """Threads, or worker processes, of each variant; 0 takes all cores."""
    consumer: Annotated[float, Field(gt=0, le=1e9)] = 1000.0
    """Images per second that the consumer takes, before which waiting is measured: a ResNet18 step on one GPU."""
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """192 images, one size, one turn, fewer variants: under a minute, for a first look."""

    def resolved(self) -> "LoaderConfig":
        """The settings that zeros and ``quick`` stand for.

        Raises:
            InputError: no such preset of views.
        """
        if self.views not in PRESETS:
            raise InputError(f"--views {self.views}: unknown; known presets: {', '.join(PRESETS)}")
        images = self.images or (16_384 if self.device == "cuda" else 2048)
        config = replace(self, images=images, threads=self.threads or num_cores())
        if not self.quick:
            return config
        return replace(config, size=self.size[:1], batch=min(self.batch, 32), images=min(images, 192), turns=1)


@dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """How many images of each kind are packed."""

    nih: Path | None = None
    """Folder of NIH ChestX-ray14 (images/*.png); without it, 1024 px PNGs of noise-textured fields are made."""
    large: PositiveCount = 128
    """Full-size JPEGs, 2828x2320; 24 different ones, each under several names."""
    png: PositiveCount = 192
    """1024 px PNGs."""
    small: PositiveCount = 4000
    """320 px JPEGs that pass unchanged."""
    memory: tuple[PositiveCount, ...] = (1000, 20_000)
    """Numbers of images at which peak memory is measured; none to leave it out."""
    turns: Turns = 5
    """Turns each variant is timed."""
    workers: Workers = -1
    """Processes of the build; -1 takes all cores."""
    quick: bool = False
    """Few images and turns: half a minute, for a first look."""


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How large the index is."""

    rows: Annotated[int, Field(ge=100, le=2**31 - 1)] = CHEXPERT_ROWS
    """Rows of the index."""
    turns: Turns = 5
    """Times it is measured."""
    quick: bool = False
    """A tenth of the rows, two turns."""


@dataclass(frozen=True, kw_only=True)
class PeersConfig:
    """Which grid is measured."""

    encoder: Encoders = ("resnet18", "resnet50")
    """Encoders for the momentum update; the first one's step is compared."""
    queue: Sizes = (4096, 65_536)
    """Queue sizes for loss and enqueue."""
    batch: Sizes = (256,)
    """Batch sizes for loss and enqueue."""
    turns: Turns = 9
    """Turns each variant is timed; loaders a third as often."""
    data: Path | None = None
    """A packed dataset of JPEGs for the loaders; default: phantom images 320 px high, made on the spot."""
    size: Side = 224
    """Views of the loaders, in pixels."""
    images: Annotated[int, Field(ge=96, le=2**31 - 1)] = 1024
    """Images a pass of the loaders."""
    step_size: Side = 96
    """Views of the steps, in pixels."""
    step_batch: Batch = 32
    """Images of the steps."""
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """One encoder, one queue, three turns, and 96 images a pass: under a minute, for a first look."""


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """What is measured, and what is predicted from it."""

    ranks: Annotated[tuple[Threads, ...], Field(min_length=1)] = (1, 2, 4)
    """Numbers of ranks, 1 among them; on cuda, those for which there are GPUs."""
    encoder: Encoder = "resnet18"
    size: Side = 128
    """Views, in pixels."""
    batch: Batch = 32
    """Images a rank."""
    queue: PositiveCount = 24_576
    """Keys in the queue."""
    threads: ThreadsOrAll = 0
    """Threads a rank; 0 shares the cores out among the most ranks, at least one each."""
    turns: Turns = 7
    """Turns each number of ranks is timed."""
    nodes: Annotated[tuple[_Number, ...], Field(min_length=1)] = (1, 2, 8)
    """Predictions: numbers of nodes."""
    gpus: Annotated[tuple[_Number, ...], Field(min_length=1)] = (1, 8)
    """Predictions: ranks a node, each on a device of its own like the one measured."""
    network: Annotated[tuple[_Gigabits, ...], Field(min_length=1)] = (10.0, 100.0)
    """Predictions: bandwidth of a node's network, in gigabits a second."""
    inside: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Predictions: bandwidth between the ranks of a node, in gigabits a second; 0 takes what is measured."""
    compute: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """Predictions: seconds of one rank's step, such as one that ``step`` has measured elsewhere; 0 takes this one's."""
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """1 and 2 ranks, views of 64 px, batch 16, three turns: some 40 seconds, for a first look."""

    def resolved(self) -> "ScalingConfig":
        """The settings that zeros and ``quick`` stand for.

        Raises:
            InputError: the numbers of ranks or nodes are not usable.
        """
        config = self
        if self.quick:
            config = replace(config, ranks=(1, 2), size=64, batch=16, queue=1024, turns=3, nodes=(1, 2))
        ranks = tuple(sorted(set(config.ranks)))
        if config.device == "cuda":
            import torch  # takes seconds; only GPUs are counted by it

            ranks = tuple(number for number in ranks if number <= torch.cuda.device_count())
        if not ranks or ranks[0] != 1:
            raise InputError(f"--ranks {' '.join(map(str, config.ranks))}: 1 is to be among them, and none below it")
        return replace(config, ranks=ranks, threads=config.threads or max(1, num_cores() // ranks[-1]))


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which sizes are measured."""

    images: Annotated[int, Field(ge=20_000, le=2**31 - 1)] = CHEXPERT_FRONTAL
    """Training images of the sweep."""
    labels: Sizes = (1, 14)
    """Numbers of labels that are fitted at once."""
    turns: Turns = 3
    """Times that what others have is timed beside ours; the sweep runs once."""
    quick: bool = False
    """A twentieth of the images and one label, a tenth of the resamples."""


@dataclass(frozen=True, kw_only=True)
class MultimodalBenchConfig:
    """What a step is."""

    pairs: PositiveCount = 25_000
    tokens: PositiveCount = 32
    """Text tokens, the two signs included."""
    image_tokens: Width = 4
    layers: Annotated[int, Field(ge=1, le=1000)] = 4
    width: Widths = (128, 256)
    batch: PositiveCount = 32
    steps: PositiveCount = 20
    """Steps a turn."""
    turns: Turns = 7
    device: str = "cpu"
    """cpu or cuda."""
    quick: bool = False
    """2,000 pairs, one width, three turns of five steps: some ten seconds, for a first look."""


@dataclass(frozen=True, kw_only=True)
class WaitingConfig:
    """How long the threads compute."""

    steps: PositiveCount = 2
    """Batches of 64 images a turn."""
    turns: Turns = 7
    quick: bool = False
    """One turn of one batch: about a minute, for a first look."""
