"""``moco-cxr completion SHELL``: a script that completes commands and options in bash, zsh or fish.

tyro writes one for each package, around a literal of all that can be given; theirs are put into one.
"""

import functools
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import tyro

from moco_cxr.command import COMMANDS
from moco_cxr.commands.pretrain import NUM_PROCESSES
from moco_cxr.packages import PACKAGES
from shards.base.errors import InputError
from shards.base.mistakes import known, literal_in, printed_completion
from train.settings.command import about, parse_command
from train.settings.recipes import RECIPES

_SHELLS = {
    "bash": "in ~/.bashrc: source <(moco-cxr completion bash)",
    "zsh": "moco-cxr completion zsh > _moco-cxr, in a folder of $fpath",
    "fish": "moco-cxr completion fish > ~/.config/fish/completions/moco-cxr.fish",
}
_PARSED = ("predict", "embed")  # commands of this folder that tyro reads


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
    ask = _asking(functools.partial(tyro.extras.subcommand_cli_from_dict, words, prog="moco-cxr"))
    whole = known(ask)
    for name, told in COMMANDS.items():
        options = whole["subcommands"][name]
        if name in (*PACKAGES, *_PARSED):
            module = f"{name}.__main__" if name in PACKAGES else f"moco_cxr.commands.{name}"
            options |= known(_asking(import_module(module).main))
        options["description"] = told
    settings = known(parse_command, [next(iter(RECIPES))])
    number = next(option for option in settings["options"] if "--run.epochs" in option["flags"])
    settings["options"].append(number | {"flags": [NUM_PROCESSES], "description": "Processes on this machine."})
    recipes = {name: settings | {"description": about(recipe)} for name, recipe in RECIPES.items()}
    whole["subcommands"]["pretrain"]["subcommands"] = recipes
    literal = repr(_plain(whole))
    if shell == "fish":  # where it stands between double quotes
        literal = re.sub(r'[\\"$]', r"\\\g<0>", literal)
    script = printed_completion(ask, (), shell)
    before = literal_in(script)
    return script[: before.start()] + literal + script[before.end() :]


def _plain(command: dict[str, Any]) -> dict[str, Any]:
    """With what a switch's negation does beside it, and without Python's words."""
    options = []
    for option in command["options"]:
        plain = option["description"].replace("{None}|", "").replace(": None)", ": none)").replace("%%", "%")
        told = option | {"description": " ".join(plain.split())}  # for shells each line would be a candidate
        if option["type"] != "boolean":
            options.append(told)
            continue
        flags = [flag for flag in option["flags"] if re.search(r"(--|\.)no-", flag)]
        options.append(told | {"flags": [flag for flag in option["flags"] if flag not in flags], "type": "flag"})
        options += [
            told | {"flags": [flag], "type": "flag", "description": f"Off: {told['description']}"} for flag in flags
        ]
    return command | {
        "options": options,
        "subcommands": {name: _plain(each) for name, each in command["subcommands"].items()},
    }


def _asking(ask: Callable[[], object]) -> Callable[[Sequence[str]], object]:
    """``ask``, which takes the process's arguments, with others."""

    def asked(words: Sequence[str]) -> object:
        sys.argv = ["moco-cxr", *words]
        return ask()

    return asked


def _nothing() -> None:
    """Stands for a command's own parser."""
