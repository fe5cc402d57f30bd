"""``moco-cxr completion SHELL``: a script that completes commands and options in bash, zsh or fish.

tyro writes one for each package, around a literal of all that can be given; theirs are put into one.
"""

import ast
import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import tyro

from moco_cxr.command import COMMANDS
from moco_cxr.packages import PACKAGES
from shards.base.errors import InputError
from train.settings.command import about, parse_command
from train.settings.recipes import RECIPES

_SHELLS = {
    "bash": "in ~/.bashrc: source <(moco-cxr completion bash)",
    "zsh": "moco-cxr completion zsh > _moco-cxr, in a folder of $fpath",
    "fish": "moco-cxr completion fish > ~/.config/fish/completions/moco-cxr.fish",
}
_LITERAL = re.compile(r"(?<=COMPLETION_SPEC = )\{.*\}$", re.MULTILINE)


def main() -> None:
    """Prints the script.

    Raises:
        InputError: no shell, or one that is unknown.
    """
    shell = " ".join(sys.argv[1:])
    if shell in ("-h", "--help"):
        print("usage: moco-cxr completion SHELL", *(f"  {way}" for way in _SHELLS.values()), sep="\n")
    elif shell in _SHELLS:
        print(_script(shell), end="")
    else:
        raise InputError(f"shell: {shell or 'none'} given; give one of {', '.join(_SHELLS)}")


def _script(shell: str) -> str:
    """What the shell is to read."""
    words: dict[str, Callable[[], None]] = dict.fromkeys(COMMANDS, _nothing)
    ask = functools.partial(tyro.extras.subcommand_cli_from_dict, words, prog="moco-cxr")
    whole = _options(ask)
    for name, told in COMMANDS.items():
        options = whole["subcommands"][name]
        if name in PACKAGES:
            options |= _options(import_module(f"{name}.__main__").main)
        options["description"] = told
    settings = _options(lambda: parse_command(sys.argv[1:]), next(iter(RECIPES)))
    recipes = {name: settings | {"description": about(recipe)} for name, recipe in RECIPES.items()}
    whole["subcommands"]["pretrain"]["subcommands"] = recipes
    literal = repr(whole)
    if shell == "fish":  # where it stands between double quotes
        literal = re.sub(r'[\\"$]', r"\\\g<0>", literal)
    return _LITERAL.sub(lambda _: literal, _printed(shell, ask))


def _options(ask: Callable[[], object], *words: str) -> dict[str, Any]:
    """What can follow a command."""
    found = _LITERAL.search(_printed("bash", ask, *words))
    assert found is not None
    options: dict[str, Any] = ast.literal_eval(found[0])
    return options


def _printed(shell: str, ask: Callable[[], object], *words: str) -> str:
    sys.argv = ["moco-cxr", *words, "--tyro-print-completion", shell]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        ask()
    return text.getvalue()


def _nothing() -> None:
    """Stands for a command's own parser."""
