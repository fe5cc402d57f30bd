"""``python -m pipeline``: looks at what the model will see.

python -m pipeline preview --data data/chexpert --output views.png
python -m pipeline preview --data data/chexpert --views moco_v2 --views.fill edge --views.blur 1.0
"""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import tyro

from pipeline.preview import PreviewConfig, run_preview
from pipeline.views import PRESETS, ViewSpec
from shards.base.errors import InputError, run_command

DESCRIPTION = """The input pipeline, looked at.

A `preview` draws images beside the views that training would make of them. Add --help to it for all settings.

Exit codes: 0 done; 2 something for you to mend, which one line says; 130 interrupted."""


def main() -> int:
    """Runs the command and returns its exit code."""
    default = PreviewConfig(views=_preset(sys.argv[1:]))

    def preview(config: Annotated[PreviewConfig, tyro.conf.arg(name="")] = default) -> None:
        """Draw a contact sheet: images beside random views of them, with what was drawn for each view beneath.

        Look whether lungs stay in the crop, how often and how far images are turned or blurred, and what lies beyond
        the border. The views are made as in training: for the same datasets, seed and epoch, the first two of an image
        are those that training gets. Any --views.* option can be given to training as it is.

        Exit codes: 0 written; 2 a mistake, such as a setting out of range or a split without images.
        """
        run_preview(config)

    commands: dict[str, Callable[..., None]] = {"preview": preview}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m pipeline", description=DESCRIPTION)
    return 0


def _preset(arguments: Sequence[str]) -> ViewSpec:
    """The preset that ``--views`` names: it is needed before the rest is read, as the default of all other settings.

    Raises:
        InputError: no such preset.
    """
    name = "moco_cxr"
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--views":
            name = following
        elif argument.startswith("--views="):
            name = argument.removeprefix("--views=")
    if name not in PRESETS:
        raise InputError(f"--views {name}: no such preset; give one of {', '.join(PRESETS)}")
    return PRESETS[name]


if __name__ == "__main__":
    run_command(main)
