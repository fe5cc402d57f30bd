"""The command line of pretraining: a recipe by name or file, then any of its settings."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from shards.base.commands import check_arguments, parsed
from shards.base.config_file import ConfigFile, config_path, names_in_file, of_file, read_settings
from shards.base.errors import InputError
from shards.base.words import Spelling, as_called
from train.settings.config import PretrainConfig
from train.settings.own_recipe import FORMS, YAML, find_recipe, with_recipe
from train.settings.recipes import RECIPES

_USAGE = "RECIPE --data DATASET [DATASET ...] --output RUN [--section.field VALUE ...]"
FIELDS = [
    f"{section.name}.{each.name}"
    for section in fields(PretrainConfig)
    if is_dataclass(kind := type(getattr(PretrainConfig(), section.name)))
    for each in fields(kind)
]
"""All settings that have a section."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line asks for."""

    config: PretrainConfig
    fit: bool = False
    """Take other values in place of settings that do not fit."""
    dry_run: bool = False
    """Check everything and tell what the run would be, in place of training."""
    preview: Path | None = None
    """Picture of the views of one batch, to write in a dry run."""
    spelling: Spelling = field(default_factory=Spelling, compare=False)
    """How the settings were given, for messages."""


def parse_command(arguments: Sequence[str]) -> Asked:
    """What the arguments ask for. Prints the help and exits where they ask for that.

    Raises:
        InputError: no recipe, an unknown one, or a setting out of range; a file of settings that does not fit.
    """
    # The launcher puts --local_rank=N before our own arguments; LOCAL_RANK says the same.
    own = [argument for argument in arguments if not argument.startswith(("--local_rank", "--local-rank"))]
    if own and own[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0)
    given = check_arguments(own)
    word = None if not given or given[0].startswith("-") else given[0]
    path = config_path(given)
    if word is None and path is None:
        recipes = f"recipes are {', '.join(RECIPES)}; or give {FORMS}, or --config RUN/config.yaml"
        raise InputError(f"recipe: none given; usage: {as_called('pretrain')} {_USAGE}; {recipes}")
    default, told = (None, f"The settings of {path}.") if word is None else find_recipe(word)
    if path is not None:
        with of_file(path):
            default = with_recipe(default, read_settings(path))
    assert default is not None

    def pretrain(
        settings: Annotated[PretrainConfig, tyro.conf.arg(name="")] = default,
        file_of_settings: ConfigFile = None,
        fit: bool = False,
        dry_run: bool = False,
        preview: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None,
    ) -> Asked:
        """Pretrains.

        Args:
            fit: Where settings do not fit one another or the images, take the nearest that do, and say which.
            dry_run: Check everything that a run checks, try a few steps, and print settings, images, steps, memory and
                time; nothing is trained, and no run folder is left.
            preview: With --dry-run: also draw the views of one batch into this PNG file.
        """
        return Asked(config=settings, fit=fit, dry_run=dry_run, preview=preview)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="tyro")
        program = f"{as_called('pretrain')} {word or ''}".rstrip()
        asked = parsed(
            lambda words: tyro.cli(
                pretrain, args=words, prog=program, description=told, config=(tyro.conf.AvoidSubcommands,)
            ),
            given if word is None else given[1:],
            program=program,
        )
    if asked.preview is not None and not asked.dry_run:
        raise InputError(f"--preview {asked.preview}: is drawn in a dry run only; give --dry-run as well")
    in_files = {} if path is None else names_in_file(path, given)
    if word is not None and Path(word).suffix in YAML:
        in_files = names_in_file(Path(word), given, "recipe") | in_files
    return replace(asked, spelling=Spelling(fields=FIELDS, in_files=in_files))


def _help() -> str:
    lines = [
        f"usage: {as_called('pretrain')} {_USAGE}",
        "",
        "recipes (RECIPE --help shows all settings with their values):",
    ]
    for name, make in RECIPES.items():
        lines.append(f"  {name:30}{about(make)}")
    lines += ["", f"RECIPE is {FORMS}; or --config RUN/config.yaml stands in its place."]
    program = Path(__file__).resolve().parents[1] / "pretrain.py"
    return "\n".join(
        [*lines, "", "This process trains alone; several, one a GPU, are started by", *_launchers(program)]
    )


def _launchers(program: Path) -> list[str]:
    return [
        "  moco-cxr pretrain RECIPE ... --num-processes N        on this machine",
        "  srun moco-cxr pretrain RECIPE ...                     under Slurm, a task each",
        f"  deepspeed --hostfile HOSTS {program} RECIPE ...",
        f"  torchrun --nnodes M --nproc-per-node N {program} RECIPE ...",
    ]


def about(recipe: Callable[[], PretrainConfig]) -> str:
    """A recipe in one line."""
    return (inspect.getdoc(recipe) or "").splitlines()[0]
