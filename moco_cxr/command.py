"""``moco-cxr``: all commands under one name, from any folder, whatever files lie there.

``moco-cxr shards build ...`` is ``python -m shards build ...``, and so on. Where a folder holds a ``train.py`` or
``eval.py`` of the user's own, ``python -m train`` would run that; this never does, nor does any process that it starts.
"""

import difflib
import os
import sys
from collections.abc import Callable
from importlib import import_module

from moco_cxr.packages import PACKAGES, check_packages

COMMANDS = {
    "shards": "pack releases into datasets; verify, stats, preview, subset, merge",
    "pipeline": "look at augmented views",
    "pretrain": "pretrain an encoder without labels, or go on with a run that was stopped",
    "train": "export an encoder to other software",
    "eval": "linear, kNN, few-shot, fine-tuned; tables and report pages with intervals",
    "predict": "what a kept classifier says of images, from files or a dataset",
    "embed": "features of any encoder, for images from files or a dataset",
    "benchmarks": "measure this machine's loader, hot path and steps",
    "doctor": "what this machine has, what is missing, and the command that mends it",
    "completion": "print what completes commands in bash, zsh or fish",
}
_USAGE = "usage: moco-cxr COMMAND ...; moco-cxr COMMAND --help explains one"


def main() -> None:
    """Runs the command that is named; exits with its status."""
    os.environ["PYTHONSAFEPATH"] = "1"  # for processes that are started by this one, in whatever folder
    try:
        check_packages()
        from shards.base.errors import run_command
        from shards.base.words import CALLED
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    os.environ[CALLED] = "1"
    run_command(lambda: _command(sys.argv[1:]))


def _command(words: list[str]) -> int | None:
    from shards.base.errors import InputError

    if not words or words[0] in ("-h", "--help"):
        print("\n".join([_USAGE, "", *(f"  {name:12}{about}" for name, about in COMMANDS.items())]))
        return 0 if words else 2
    if words[0] not in COMMANDS:
        (nearest,) = difflib.get_close_matches(words[0], COMMANDS, n=1, cutoff=0)
        raise InputError(f"{words[0]}: no such command; did you mean {nearest}? They are {', '.join(COMMANDS)}")
    sys.argv = ["moco-cxr", *words[1:]]
    module = f"{words[0]}.__main__" if words[0] in PACKAGES else f"moco_cxr.commands.{words[0]}"
    run: Callable[[], int | None] = import_module(module).main
    return run()
