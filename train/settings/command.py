"""The command line of pretraining: a recipe by name, then any of its settings."""

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence

import tyro

from shards.base.arguments import check_arguments
from shards.base.commands import parsed
from shards.base.errors import InputError
from train.settings.config import PretrainConfig
from train.settings.recipes import RECIPES, recipe

_USAGE = "deepspeed train/pretrain.py RECIPE --data DATASET [DATASET ...] --output RUN [--section.field VALUE ...]"


def parse_command(arguments: Sequence[str]) -> PretrainConfig:
    """The configuration that the arguments ask for. Prints the help and exits where they ask for that.

    Raises:
        InputError: no recipe, an unknown one, or a setting out of range.
    """
    # The launcher puts --local_rank=N before our own arguments; LOCAL_RANK says the same.
    own = [argument for argument in arguments if not argument.startswith(("--local_rank", "--local-rank"))]
    if own and own[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0)
    if not own or own[0].startswith("-"):
        raise InputError(f"recipe: none given; {_USAGE}; recipes are {', '.join(RECIPES)}")
    default = recipe(own[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="tyro")
        program = f"{'moco-cxr pretrain' if sys.argv[0] == 'moco-cxr' else 'train/pretrain.py'} {own[0]}"
        return parsed(
            lambda words: tyro.cli(
                PretrainConfig,
                default=default,
                args=words,
                prog=program,
                description=inspect.getdoc(RECIPES[own[0]]),
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
            ),
            check_arguments(own[1:]),
            program=program,
        )


def _help() -> str:
    lines = [f"usage: {_USAGE}", "", "recipes (RECIPE --help shows all settings with their values):"]
    for name, make in RECIPES.items():
        lines.append(f"  {name:30}{about(make)}")
    return "\n".join(lines)


def about(recipe: Callable[[], PretrainConfig]) -> str:
    """A recipe in one line."""
    return (inspect.getdoc(recipe) or "").splitlines()[0]
