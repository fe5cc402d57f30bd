"""A grid as a file: a whole comparison in a short YAML. Its fields are the options of the commands, and three more.

    data: data/chexpert
    label: [Pleural Effusion, Edema]
    starts: {random: random, imagenet: imagenet, pretrained: [runs/first, runs/second]}   # the first is the baseline
    readout: [linear, few-shot, finetune]
    fraction: [0.001, 0.01, 0.1, 1]
    finetune: {max_steps: 2000}

A start of several runs is their mean. Paths in the file are relative to the working directory, as on the command line.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.foreign.kinds import WORDS, is_foreign, title_of
from eval.grid.config import FEATURES, GridConfig, Measured, ReadoutName, Settings, check_grid
from shards.base.config_file import of_file
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.base.stored import parse_yaml, read_file

_STARTS = (
    "starts: give name: source lines; a source is random, imagenet, package:NAME, timm:NAME, hf:NAME, hub:NAME, "
    "xrv:NAME, a run folder or a file, or a list of runs"
)
_LISTS = ("data", "label", "readout", "fraction", "shots", "layers")  # where one value may stand for a list of one


@dataclass(frozen=True, kw_only=True)
class _GridFile(Settings, Measured):
    """The fields of a grid's file."""

    starts: dict[str, tuple[str, ...]]
    readout: tuple[ReadoutName, ...] = ("linear",)
    baseline: str | None = None
    output: Path | None = None


def open_grid(path: Path, *, output: Path | None = None, jobs: int | None = None) -> GridConfig:
    """:func:`read_grid`, with its starts looked for. Imports torch.

    Raises:
        InputError: as it does, or a start of which nothing can be read.
    """
    config = read_grid(path, output=output, jobs=jobs)
    from eval.grid.plan import check_sources

    with of_file(path, "grid"):
        check_sources(config)
    return config


def read_grid(path: Path, *, output: Path | None = None, jobs: int | None = None) -> GridConfig:
    """The grid of a YAML file.

    Args:
        output: takes the place of the file's; default: the file's path without its suffix.
        jobs: takes the place of the file's.

    Raises:
        InputError: no such file, no YAML, an unknown field, a value of the wrong type or out of range.
    """
    try:
        content = parse_yaml(read_file(path))
    except InputError as error:
        raise InputError(f"grid {path}: {error}; give a YAML file with data, label, starts and readout") from None
    if not isinstance(content, dict):
        raise InputError(f"grid {path}: holds no fields; give data, label, starts and readout")
    content |= {name: [content[name]] for name in _LISTS if name in content and not isinstance(content[name], list)}
    try:
        if "starts" in content:
            content["starts"] = _read_starts(content["starts"])
        file = from_mapping(_GridFile, content)
    except InputError as error:
        raise InputError(f"grid {path}: {error}") from None
    settings, measured = (
        {each.name: getattr(file, each.name) for each in dataclasses.fields(kind)} for kind in (Settings, Measured)
    )
    if jobs is not None:
        settings["jobs"] = jobs
    folder = output or file.output or path.with_suffix("")
    if folder == path:
        raise InputError(f"grid {path}: output: not given, and the file has no suffix to leave away; give --output")
    config = GridConfig(
        settings=Settings(**settings),
        starts=file.starts,
        baseline=file.baseline or next(iter(file.starts)),
        output=folder,
        features=folder / FEATURES,
        **measured,
    )
    try:
        check_grid(config)
    except InputError as error:
        raise InputError(f"grid {path}: {error}") from None
    return config


def _read_starts(content: Any) -> dict[str, tuple[str, ...]]:
    """``{name: source}``, ``{name: [source, source]}``, or a list of sources that name themselves."""
    if isinstance(content, list):
        content = {_name(str(source)): source for source in content}
    if not isinstance(content, dict):
        raise InputError(_STARTS)
    starts = {str(name): tuple(source) if isinstance(source, list) else (source,) for name, source in content.items()}
    if not all(sources and all(isinstance(source, str) for source in sources) for sources in starts.values()):
        raise InputError(_STARTS)
    if not starts:
        raise InputError("starts: no value given; give at least one name: source line")
    return starts


def _name(source: str) -> str:
    if source in WORDS:
        return source
    return title_of(source) if is_foreign(source) else Path(source).name
