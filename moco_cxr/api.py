"""Functions for notebooks and own code: what the commands do, with the same settings, checks and errors.

    import moco_cxr

    data = moco_cxr.build("chexpert", input="CheXpert-v1.0-small", output="data/chexpert")
    index = moco_cxr.open_index("data/chexpert").where(split="train")
    loader = moco_cxr.build_loader(index, moco_cxr.views("moco_cxr", size=224), batch_size=64)
    run = moco_cxr.pretrain("small_resnet18", data="data/chexpert", output="runs/first", run={"epochs": 20})
    comparison = moco_cxr.evaluate(run, data="data/chexpert", label="Pleural Effusion", fraction=(0.01, 0.1, 1.0))
    encoder = moco_cxr.load_encoder(run).encoder
    scores = moco_cxr.predict("results/cells/finetune/pretrained", "new-dicoms").to_pylist()
    features = moco_cxr.embed(run, "new-dicoms")["features"]

Each raises :class:`moco_cxr.InputError` for what its user can mend, in one line.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

import train.run.loop
from eval.classifier.kept import Kept
from eval.grid.config import Measured, Settings, grid_of_run
from eval.grid.run import run_grid
from eval.inference.config import EmbedConfig, PredictConfig
from eval.inference.embed import embedded
from eval.inference.model import is_classifier, load_classifier
from eval.inference.predict import predicted
from eval.results.table import Comparison
from pipeline.loader import build_loader
from pipeline.views import ViewSpec
from pipeline.views import preset as find_preset
from shards.base.bounds import Share
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.base.values.arguments import InWords, checked_arguments
from shards.index import ShardIndex
from shards.packing.build import build_dataset
from shards.packing.config import BuildConfig
from train.encoders.saved import LoadedEncoder, load_encoder
from train.encoders.starts.hub import WORDS, download, is_on_hub
from train.ranks.place import read_place
from train.settings.checks import settle
from train.settings.config import PretrainConfig
from train.settings.own_recipe import find_recipe, made_by

__all__ = [
    "InputError",
    "build",
    "build_loader",
    "embed",
    "evaluate",
    "from_hub",
    "load_encoder",
    "open_index",
    "predict",
    "pretrain",
    "views",
]
Recipe = str | Path | PretrainConfig | Callable[[], PretrainConfig]
_Paths = str | Path | Sequence[str | Path]
_Place = Annotated[str | Path, InWords("a path")]
_Places = Annotated[_Paths, InWords("a path, or a list of paths")]
_Output = Annotated[str | Path | None, InWords("a path, or None")]
_Names = Annotated[str | Sequence[str], InWords("a name, or a list of names")]
_Recipe = Annotated[
    Recipe, InWords("a name, such as 'small_resnet18', a file, settings, or a function that makes them")
]
_Data = Annotated[
    _Paths, InWords("the folder, or a list of folders; selections are settings: selection={'view': 'frontal'}")
]

open_index = ShardIndex.open


@checked_arguments
def build(source: str, *, input: _Place, output: _Place, **settings: Any) -> Path:
    """Packs a release, or goes on with a build that was stopped, and returns the dataset folder.

    Args:
        source: such as ``dicom``; ``moco-cxr shards build --help`` lists them.
        settings: others of :class:`shards.packing.config.BuildConfig`, such as ``size=224``, and
            ``source_options={"csv": "labels.csv", "join": "accession"}``.

    Raises:
        InputError: a setting that is unknown or out of range, an input that is no such release.
        TooManyRejected: more images were refused than ``max_rejected``.
    """
    given = {"source": source, "input": str(input), "output": str(output), **settings}
    build_dataset(from_mapping(BuildConfig, given, "--"))
    return Path(output)


@checked_arguments
def views(preset: str, **ranges: Any) -> ViewSpec:
    """The views of a preset (``moco_cxr``, ``moco_v2``, ``evaluation``, ...), with other values where they are given.

    Raises:
        InputError: no such preset, with the nearest name; no such field, or a value out of range.
    """
    return from_mapping(ViewSpec, dataclasses.asdict(find_preset(preset)) | ranges, "views")


@checked_arguments
def pretrain(recipe: _Recipe, *, data: _Data, output: _Place, fit: bool = False, **settings: Any) -> Path:
    """Pretrains an encoder in this process, or goes on with a run that was stopped, and returns the run folder.

    Args:
        recipe: a name, such as ``small_resnet18`` (``moco-cxr pretrain --help`` lists them); a YAML or Python file of
            your own (:mod:`train.settings.own_recipe`), or the ``config.yaml`` of a run; settings, or a function that
            returns them.
        data: dataset folders or their addresses.
        fit: take other values in place of settings that do not fit one another or the images.
        settings: a section by its name with the values to change, ``run={"epochs": 20}, views={"size": 224}``; the
            sections and fields are those of :class:`train.settings.config.PretrainConfig`.

    Raises:
        InputError: a setting that is unknown or out of range, data that cannot be used, a run of other settings.
    """
    if isinstance(recipe, str | Path):
        start, _ = find_recipe(str(recipe))
    else:
        start = recipe if isinstance(recipe, PretrainConfig) else made_by(recipe, "recipe")
    given = dataclasses.asdict(start) | {"data": _named(data), "output": str(output)}
    for name, values in settings.items():
        is_section = isinstance(given.get(name), dict) and isinstance(values, Mapping)
        given[name] = {**given[name], **values} if is_section else values
    config = from_mapping(PretrainConfig, given)
    train.run.loop.pretrain(settle(config, world_size=read_place().size, fit=fit, way="fit=True"))
    return Path(output)


@checked_arguments
def evaluate(
    run: _Places,
    *,
    data: _Places,
    label: _Names,
    readout: _Names = "linear",
    against: _Names = ("random",),
    output: _Output = None,
    fraction: Share | Sequence[Share] | None = None,
    settings: Mapping[str, Any] | None = None,
    **readouts: Any,
) -> Comparison:
    """Measures a run against other starts, as ``moco-cxr eval`` does; what has been computed before is read back.

    Args:
        run: run folder, checkpoint or file; of several, the mean is compared.
        readout: ``linear``, ``knn``, ``few-shot``, ``finetune``, or several.
        against: starts; the first is the baseline.
        output: folder of the results; default: in the run folder.
        fraction: share of the training labels, or several; default: those of the readout.
        settings: others of :class:`eval.grid.config.Settings`, such as ``{"draws": 5, "protocol": "published"}``.
        readouts: settings of readouts, ``finetune={"max_steps": 2000}``, and ``shots``.

    Returns:
        ``rows`` with scores, intervals and differences; written to ``results.json`` as well, from which
        ``moco-cxr eval report`` makes a page.

    Raises:
        InputError: a setting that is unknown or out of range, data, label or start that cannot be used.
    """
    chosen = from_mapping(Settings, {"data": _named(data), "label": _several(label), **(settings or {})}, "--")
    asked: dict[str, Any] = {}
    if fraction is not None:
        asked["fraction"] = (fraction,) if isinstance(fraction, int | float) else tuple(fraction)
    fields = {field.name: field for field in dataclasses.fields(Measured)}
    for name, values in readouts.items():
        if name not in fields:
            (nearest,) = difflib.get_close_matches(name, fields, n=1, cutoff=0)
            raise InputError(f"{name}: is no readout's setting; did you mean {nearest}? Of data and protocol: settings")
        section: Any = fields[name].default_factory
        is_section = isinstance(section, type) and isinstance(values, Mapping)
        asked[name] = from_mapping(section, values, f"--{name}") if is_section else values
    runs = tuple(Path(name) for name in _named(run))
    to = None if output is None else Path(output)
    return run_grid(grid_of_run(runs, _several(against), _several(readout), chosen, output=to, **asked))


@checked_arguments
def predict(model: _Place, input: _Places, *, output: _Output = None, **settings: Any) -> pa.Table:
    """What a kept classifier says of images, as ``moco-cxr predict`` does.

    Args:
        model: the folder that ``keep_model`` left, or a file in it.
        input: folders or zips of DICOM, PNG and JPEG, such files, datasets.
        output: table to write as well, ``.csv`` or ``.parquet``.
        settings: others of :class:`eval.inference.config.PredictConfig`, such as ``specificity=0.9``.

    Returns:
        one row an image; see :class:`eval.inference.predict.Predictions`.

    Raises:
        InputError: a setting that is unknown or out of range, no such model, no image that can be read.
    """
    given = {"model": str(model), "input": _named(input), **settings}
    return predicted(from_mapping(PredictConfig, given), None if output is None else Path(output))


@checked_arguments
def embed(model: _Place, input: _Places, *, output: _Output = None, **settings: Any) -> pa.Table:
    """Features of any encoder for images, as ``moco-cxr embed`` does.

    Args:
        model: run folder, checkpoint, file of weights, or ``timm:NAME``, ``hf:NAME``, ``xrv:NAME``.
        input: as of :func:`predict`.
        output: file to write as well, ``.parquet``, or ``.npy``, which has its keys in ``NAME.keys.csv``.
        settings: others of :class:`eval.inference.config.EmbedConfig`, such as ``layers=(3, 4)``.

    Returns:
        one row an image; see :class:`eval.inference.embed.Embeddings`.

    Raises:
        InputError: as of :func:`predict`.
    """
    given = {"model": str(model), "input": _named(input), **settings}
    return embedded(from_mapping(EmbedConfig, given), None if output is None else Path(output))


@checked_arguments
def from_hub(name: str) -> LoadedEncoder | Kept:
    """Downloads what ``--push-to-hub USER/NAME`` has uploaded, or finds it in the cache.

    Args:
        name: ``USER/NAME``, or ``USER/NAME@REVISION``.

    Returns:
        an encoder as :func:`load_encoder` reads it, or a classifier as :func:`eval.inference.model.load_classifier`.

    Raises:
        InputError: there is none of that name, or it is not one of ours; no network, or no right to it.
    """
    folder = download(name if is_on_hub(name) else f"{WORDS[0]}{name}")
    return load_classifier(folder) if is_classifier(folder) else load_encoder(folder)


def _named(paths: _Paths) -> tuple[str, ...]:
    return tuple(map(str, (paths,) if isinstance(paths, str | Path) else paths))


def _several(words: str | Sequence[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)
