"""Settings of the evaluations. Free of torch, so that the command line can describe itself at once."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import AfterValidator, Field

from eval.finetune.config import FinetuneConfig
from eval.foreign.kinds import WORDS, title_of
from eval.multimodal.config import MultimodalConfig
from eval.readouts.registry import READOUTS
from eval.study.config import CohortConfig
from eval.training.config import Batch, TrainingConfig
from pipeline.options import EngineName
from shards.base.bounds import PositiveCount, Share, Side, Temperature
from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError, check_writable
from train.checkpoints.place import find_checkpoint, run_of

SHOTS = (1, 5, 20)
PRETRAINED = "pretrained"
FEATURES = "features"
Jobs = Annotated[int, Field(ge=1, le=1024)]
_Level = Annotated[float, Field(gt=0, lt=1)]


def _known(readout: str) -> str:
    if readout not in READOUTS:
        raise InputError(f"readout {readout!r}: give {' or '.join(READOUTS)}")
    return readout


ReadoutName = Annotated[str, AfterValidator(_known)]


@dataclass(frozen=True, kw_only=True)
class Settings(CohortConfig):
    """On what, by which rules and where: what all commands share."""

    random_starts: Annotated[int, Field(ge=1, le=1000)] = 3
    """Random starts to average over: one alone differs from the next by some hundredths."""
    replicates: Annotated[int, Field(ge=100, le=100_000_000, description="for an interval needs them")] = 10_000
    """Bootstrap resamples of the test patients."""
    level: _Level = 0.95
    """Of the confidence intervals."""
    specificity: _Level = 0.9
    """Where sensitivity is read."""
    subgroups: bool = True
    """AUROC, true and false positive rates by sex, age, projection and columns that were kept when packing, where the
    dataset has them."""
    jobs: Jobs = 1
    """Processes on this machine that compute cells; each takes one of the GPUs, in turn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where features are computed and encoders fine-tuned; auto: a GPU if there is one."""
    engine: EngineName = "auto"
    """Loading engine of the features."""
    batch_size: Batch = 64
    """Images in one forward pass of the features."""


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Settings of linear probes, few-shot ones too."""

    keep_model: bool = False
    """Write the probe and the encoder into the cell's folder, for `moco-cxr predict`."""


@dataclass(frozen=True, kw_only=True)
class KnnConfig:
    """Settings of the nearest neighbours."""

    neighbours: PositiveCount = 20
    """Neighbours that vote."""
    temperature: Temperature = 0.07
    """Of the weights exp(cosine / temperature) of their votes."""


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """Which features of an encoder are read."""

    layers: Annotated[tuple[PositiveCount, ...], tyro.conf.arg(metavar="LAYER [LAYER ...]")] = ()
    """Layers whose features are joined, counted from 1 as the network names its stages; default: what the encoder ends
    in."""


@dataclass(frozen=True, kw_only=True)
class DrawsConfig:
    """Draws to write."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    """From what, and by which rules."""
    output: Path
    """Parquet file to write: one row for each image of a draw, with the columns dataset, key, fraction, draw."""
    fraction: Annotated[tuple[Share, ...] | None, tyro.conf.arg(metavar="SHARE [SHARE ...]")] = None
    """Shares to export; default: 0.01 0.1 1."""
    source: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CSV [CSV ...]")] = ()
    """CSV files to import: a column path (or key), and fraction and draw; folders in front of a path may differ."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured of each start, with the settings of the readouts. ``architecture`` and ``size`` (pixels) are
    needed where no start is a run. ``layers``: of the encoder, that frozen readouts read; none: what it ends in."""

    readout: tuple[ReadoutName, ...]
    fraction: tuple[Share, ...] | None = None
    shots: tuple[PositiveCount, ...] = SHOTS
    layers: tuple[PositiveCount, ...] = ()
    architecture: str | None = None
    size: Side | None = None
    linear: LinearConfig = field(default_factory=LinearConfig)
    knn: KnnConfig = field(default_factory=KnnConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    multimodal: MultimodalConfig = field(default_factory=MultimodalConfig)


@dataclass(frozen=True, kw_only=True)
class GridConfig(Measured):
    """A whole comparison. ``starts`` are names and sources (:mod:`eval.study.starts`), several where figures are means
    over runs; ``baseline`` is the name of the start that the others are held against.

    ``output`` is the folder of the results, ``features`` that of the features, shared between comparisons.
    """

    settings: Settings
    starts: dict[str, tuple[str, ...]]
    baseline: str
    output: Path
    features: Path

    def keeps(self, readout: str) -> bool:
        """Whether the classifiers of a readout are written."""
        section = READOUTS[readout].section
        return section is not None and getattr(getattr(self, section), "keep_model", False)

    def settings_of(self, readout: str) -> Any:
        """The settings of a readout, those of a training as they are in this comparison; None where it has none."""
        section = READOUTS[readout].section
        asked = None if section is None else getattr(self, section)
        if isinstance(asked, TrainingConfig):
            return asked.within(protocol=self.settings.protocol, seed=self.settings.seed)
        return asked


def grid_of_run(
    runs: tuple[Path, ...],
    against: tuple[str, ...],
    readout: str | tuple[str, ...],
    settings: Settings,
    *,
    output: Path | None = None,
    **fields: Any,
) -> GridConfig:
    """The grid of one readout (or more) of one run, or of the mean of several, against other starts, the first of which
    is the baseline.

    Args:
        output: default: ``RUN/eval/READOUT-DATASET-LABEL`` of the first run; of a checkpoint,
            ``RUN/eval/STEP-READOUT-DATASET-LABEL``.
        fields: any others of :class:`GridConfig`.

    Raises:
        InputError: no run, equal names, a value out of range.
    """
    if not runs:
        raise InputError("--run: no value given; give at least one")
    starts: dict[str, tuple[str, ...]] = {}
    for source in against:
        name = source if source in WORDS else title_of(source)
        if name in {*starts, PRETRAINED}:
            raise InputError(f"--against {source}: another start has the name {name!r}; name them in a grid file")
        starts[name] = (source,)
    starts[PRETRAINED] = tuple(map(str, runs))
    readouts = (readout,) if isinstance(readout, str) else readout
    home, checkpoint = run_of(runs[0]) / "eval", find_checkpoint(runs[0])
    slug = _slug(readouts[0], settings, num_runs=len(runs))
    if checkpoint is not None:
        slug = f"{checkpoint.resolve().name}-{slug}"
    config = GridConfig(
        settings=settings,
        starts=starts,
        baseline=next(iter(starts)),
        readout=readouts,
        output=output or home / slug,
        features=_features_of(home, output),
        **fields,
    )
    check_grid(config)
    return config


def _features_of(home: Path, output: Path | None) -> Path:
    """Beside a run's evaluations, which share them; beside the results where another's run is closed to writing."""
    features = home / FEATURES
    place = next(each for each in (features, *features.parents) if each.is_dir())
    return features if output is None or os.access(place, os.W_OK | os.X_OK) else output / FEATURES


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is compared, and where the results go."""

    run: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folder of the pretraining, one of its checkpoints/step-*, or an encoder.safetensors file; of several, the
    mean is compared."""
    against: Annotated[tuple[str, ...], tyro.conf.arg(metavar="START [START ...]")] = ("random",)
    """Starts to compare with: random, imagenet, package:NAME, timm:NAME, hf:NAME, hub:USER/NAME, xrv:NAME, run
    folders, files of weights. The first is the baseline."""
    output: Path | None = None
    """Folder of the results; default: eval/READOUT-DATASET-LABEL in the run folder."""

    def grid(self, readout: str | tuple[str, ...], settings: Settings, **fields: Any) -> GridConfig:
        """The grid of one readout or more; ``fields`` are others of :class:`GridConfig`."""
        return grid_of_run(self.run, self.against, readout, settings, output=self.output, **fields)


def check_grid(config: GridConfig) -> None:
    """Refuses settings out of range, before anything is computed.

    Raises:
        InputError: names the field.
    """
    settings = config.settings
    for name, values in {
        "--data": settings.data,
        "--label": settings.label,
        "starts": config.starts,
        "readout": config.readout,
        "--fraction": (1.0,) if config.fraction is None else config.fraction,
        "--shots": config.shots,
    }.items():
        if not values:
            raise InputError(f"{name}: no value given; give at least one")
    for fields in (settings, config.knn, config):
        check_fields(fields, "--")
    if config.baseline not in config.starts:
        raise InputError(f"baseline {config.baseline!r}: is none of the starts {', '.join(config.starts)}")
    for asked in map(config.settings_of, config.readout):
        if settings.jobs > 1 and isinstance(asked, TrainingConfig) and asked.num_processes > 1:
            raise InputError(
                f"--jobs {settings.jobs}: each training takes {asked.num_processes} processes already "
                f"({asked.section}.num_processes); give one of the two"
            )
    if config.layers and not any(READOUTS[readout].is_frozen for readout in config.readout):
        listed = " ".join(map(str, config.layers))
        raise InputError(f"layers {listed}: no readout of frozen features is asked for; leave them away")
    if config.output.exists() and not config.output.is_dir():
        raise InputError(f"--output {config.output}: is a file; name a folder")
    check_writable(config.output)


def _slug(readout: str, settings: Settings, *, num_runs: int) -> str:
    """A folder's name in lower case and without signs that a shell would mind."""
    names = [path.name for path in settings.data]
    labels = settings.label if len(settings.label) <= 3 else (f"{len(settings.label)} labels",)
    several = [f"{num_runs} runs"] if num_runs > 1 else []
    return re.sub(r"[^a-z0-9]+", "-", "-".join([readout, *names, *labels, *several]).lower()).strip("-")
