"""A search as a file: recipes x settings x seeds, and what may be spent. Free of torch.

    data: data/chexpert
    label: [Pleural Effusion, Edema]
    recipes: [small_resnet18, my.yaml]
    settings: {views.area: [[0.5, 1], [0.7, 1]], method.temperature: [0.1, 0.2]}   # each with each
    # or a list of such, tried beside one another: [{}, {views.area: [[0.7, 1]]}, {method.temperature: [0.1]}]
    seeds: [0, 1, 2]
    images: 200000                                                                # or minutes: 10

Paths in the file are relative to the working directory, as on the command line.
"""

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from eval.study.protocol import NUM_FOLDS, ViewChoice
from pipeline.options import EngineName
from shards.base.bounds import PositiveCount, Share, SmallSeed
from shards.base.config_file import of_file, read_settings, with_settings
from shards.base.dataclass_io import check_fields, from_mapping
from shards.base.errors import InputError, check_writable
from shards.options import LabelPolicy
from train.settings.checks import check_config
from train.settings.config import PretrainConfig, ScheduleConfig
from train.settings.own_recipe import find_recipe
from train.settings.rows import rows_of, select_rows

_LISTS = ("data", "label", "recipes", "settings", "seeds")  # where one value may stand for a list of one


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What is tried, on what, and what may be spent."""

    data: tuple[str, ...]
    """Dataset folders; pretraining takes the images that each recipe selects, the probes those of split train."""
    label: tuple[str, ...]
    """Labels of the probes, a task each."""
    recipes: tuple[str, ...]
    """Names of recipes, or files of one's own."""
    settings: Annotated[tuple[dict[str, tuple[Any, ...]], ...], Field(min_length=1)] = ({},)
    """Values to try of settings such as ``views.area``; each with each, in each recipe. Several of these mappings stand
    beside one another, for one factor at a time; an empty one is the recipe as it is."""
    seeds: Annotated[tuple[SmallSeed, ...], Field(min_length=1)] = (0,)
    """Pretraining seeds of each candidate; its gain is the mean over them."""
    images: PositiveCount | None = None
    """Images that a run of those that are left at the end has seen, in whole epochs."""
    minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """In place of images: minutes of pretraining, in whole epochs."""
    rungs: Annotated[int, Field(ge=1, le=30)] | None = None
    """Times that candidates are measured; at each but the last the better half goes on, for twice as long. Default: as
    many as leave one."""
    schedule: Literal["constant", "own"] = "constant"
    """constant: learning rate, after its warm-up, and momentum stay, so that a longer run is the shorter one continued.
    own: the recipe's schedule over the length of each rung; those that go on begin anew, for images alone."""
    fraction: Share | dict[str, Share] = 1.0
    """Share of each fold's training patients whose labels the probes learn from; or labels with a share each, where one
    that is not named learns from all."""
    draws: PositiveCount = 5
    """Of those patients, where they are not all; their mean counts."""
    folds: Annotated[int, Field(ge=2, le=1000)] = NUM_FOLDS
    """Of the cross-validation, of patients."""
    uncertain: LabelPolicy = "ignore"
    """What an uncertain label counts as."""
    view: ViewChoice = "all"
    """View position of the probes' images."""
    random_starts: Annotated[int, Field(ge=1, le=1000)] = 3
    """Random starts that the gain is over, their mean."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where features are computed."""
    engine: EngineName = "auto"
    """Loading engine of the features."""
    output: Path | None = None
    """Folder of the search; default: the file's path without its suffix."""

    def share(self, label: str) -> float:
        """Of each fold's training patients whose labels a label's probe learns from."""
        return self.fraction.get(label, 1.0) if isinstance(self.fraction, dict) else self.fraction

    @property
    def folder(self) -> Path:
        """Of the search."""
        assert self.output is not None
        return self.output


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe with settings: ``name`` says both. ``config`` lacks data, output and seed of a run; ``num_images`` are
    those of an epoch."""

    name: str
    config: PretrainConfig
    num_images: PositiveCount


def read_search(path: Path, *, output: Path | None = None) -> SearchConfig:
    """The search of a YAML file.

    Raises:
        InputError: no such file, no YAML, an unknown field, a value of the wrong type or out of range.
    """
    with of_file(path, "search"):
        content = read_settings(path)
        content |= {name: [content[name]] for name in _LISTS if name in content and not isinstance(content[name], list)}
        config = from_mapping(SearchConfig, content)
        config = replace(config, output=output or config.output or path.with_suffix(""))
        _check(config)
        if config.folder == path:
            raise InputError("output: not given, and the file has no suffix to leave away; give --output")
        check_writable(config.folder)
    return config


def candidates(config: SearchConfig) -> list[Candidate]:
    """All that is tried, checked before anything is computed.

    Raises:
        InputError: naming the candidate, the field, its value and the remedy.
    """
    made: list[Candidate] = []
    for recipe in config.recipes:
        base, _ = find_recipe(recipe)
        for chosen in _chosen(config):
            name = " ".join([recipe, *(f"{key} {_word(value)}" for key, value in chosen.items())])
            try:
                made.append(_candidate(config, base, chosen, name))
            except InputError as error:
                raise InputError("\n".join(f"candidate {name}: {line}" for line in str(error).splitlines())) from None
    names = [each.name for each in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"candidate {twice}: is there twice; leave one")
    return made


def num_rungs(config: SearchConfig, num_candidates: int) -> int:
    """Times that candidates are measured."""
    return config.rungs or math.ceil(math.log2(num_candidates)) + 1


def epochs_at(config: SearchConfig, candidate: Candidate, rung: int, rungs: int) -> int:
    """Whole epochs that a candidate has seen at a rung, of a search by images: each rung twice those before it."""
    assert config.images is not None
    return max(1, round(config.images / 2 ** (rungs - 1 - rung) / candidate.num_images))


def run_config(config: SearchConfig, candidate: Candidate, *, seed: int, epochs: int, output: Path) -> PretrainConfig:
    """The settings of one run."""
    run = replace(candidate.config.run, seed=seed, epochs=epochs)
    return replace(candidate.config, run=run, output=output)


def _check(config: SearchConfig) -> None:
    check_fields(config)
    for name in ("data", "label", "recipes", "seeds"):
        values = getattr(config, name)
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name} {' '.join(map(str, values))}: give at least one, and none twice")
    for name, values in itertools.chain.from_iterable(each.items() for each in config.settings):
        if not values:
            raise InputError(f"settings {name}: no value given; give a list of values to try")
    if isinstance(config.fraction, dict) and (strange := sorted(config.fraction.keys() - set(config.label))):
        raise InputError(f"fraction {strange[0]}: no label of this search; give one of {', '.join(config.label)}")
    if (config.images is None) == (config.minutes is None):
        raise InputError("images, minutes: give one of the two, which is what a run may take in the end")
    if config.minutes is not None and config.schedule == "own":
        raise InputError(
            f"minutes {config.minutes:g}: a schedule of its own needs a length in advance; give images, or schedule "
            "constant"
        )


def _chosen(config: SearchConfig) -> list[dict[str, Any]]:
    """The settings of each candidate of a recipe."""
    return [
        dict(zip(group, values, strict=True))
        for group in config.settings
        for values in itertools.product(*group.values())
    ]


def _candidate(config: SearchConfig, base: PretrainConfig, chosen: dict[str, Any], name: str) -> Candidate:
    nested: dict[str, Any] = {}
    for key, value in chosen.items():
        section, dot, setting = key.partition(".")
        if not dot or (section == "run" and setting in ("seed", "epochs")):
            raise InputError(
                f"settings {key}: give the name of a setting, such as views.area; not run.seed, run.epochs"
            )
        nested.setdefault(section, {})[setting] = value
    made = replace(with_settings(base, nested), data=config.data)
    if config.schedule == "constant":
        constant = ScheduleConfig(name="constant", warmup_epochs=made.schedule.warmup_epochs)
        made = replace(made, schedule=constant, method=replace(made.method, momentum_end=None), recipe="custom")
    rows = rows_of(select_rows(made))
    candidate = Candidate(name=name, config=made, num_images=rows.num)
    total = num_rungs(config, len(config.recipes) * len(_chosen(config)))
    epochs = 1 if config.images is None else epochs_at(config, candidate, 0, total)
    first = run_config(config, candidate, seed=config.seeds[0], epochs=epochs, output=config.folder / "runs")
    check_config(first, world_size=1, rows=rows)
    return candidate


def _word(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
