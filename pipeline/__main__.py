"""``python -m pipeline``: looks at what the model will see.

python -m pipeline preview --data data/chexpert --output views.png
python -m pipeline preview --data data/chexpert --views moco_v2 --views.fill edge --views.blur 1.0
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt of the imports below has no more to say

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from pipeline.views import PRESETS, ViewSpec, preset
from shards.base.bounds import Seed, Side
from shards.base.commands import check_arguments, run_subcommand
from shards.base.config_file import given_settings
from shards.base.errors import InputError, run_command
from shards.base.words import as_called

DESCRIPTION = """The input pipeline, looked at.

A `preview` draws images beside the views that training would make of them. Add --help to it for all settings.

Exit codes: 0 done; 2 something for you to mend, which one line says; 130 interrupted."""


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """What is drawn."""

    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DATASET [DATASET ...]")] = ()
    """Dataset folders that ``moco-cxr shards build`` wrote."""
    output: Path = Path("views.png")
    """PNG file to write; one that is there is replaced."""
    preset: Annotated[str, tyro.conf.arg(name="views", metavar=f"{{{','.join(PRESETS)}}}")] = "moco_cxr"
    """Preset that the options --views.* below start from."""
    size: Annotated[Side | None, tyro.conf.arg(metavar="INT")] = None
    """Side of the views in pixels, as --views.size."""
    split: str = "all"
    """Split to take images from, or ``all``."""
    images: Annotated[int, Field(ge=1, le=100)] = 6
    """Random images, one a line."""
    num_views: Annotated[int, Field(ge=1, le=20)] = 5
    """Views of each image."""
    seed: Seed = 0
    """Which images; and seed of the views, as run.seed in training."""
    epoch: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Epoch whose views are drawn."""
    views: ViewSpec = PRESETS["moco_cxr"]


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
        _preview(config)

    run_subcommand({"preview": preview}, package="pipeline", description=DESCRIPTION)
    return 0


def _preset(arguments: Sequence[str]) -> ViewSpec:
    """The preset that ``--views`` names, or the file of ``--config``: it is needed before the rest is read, as the
    default of all other settings.

    Raises:
        InputError: no such preset.
    """
    settings = given_settings(check_arguments(arguments))
    name = next((settings[each] for each in ("preset", "views") if isinstance(settings.get(each), str)), "moco_cxr")
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if argument == "--views":
            name = following
        elif argument.startswith("--views="):
            name = argument.removeprefix("--views=")
    try:
        return preset(name)
    except InputError as error:
        raise InputError(f"--{error}") from None


def _preview(config: PreviewConfig) -> None:
    if not config.data:
        raise InputError(
            f"--data: not given; name one or more dataset folders that `{as_called('shards build')}` wrote"
        )
    spec = config.views if config.size is None else replace(config.views, size=config.size)
    from pipeline.preview import title_of, view_sheet
    from shards.checks.preview import check_sheet, save_sheet
    from shards.index import ShardIndex
    from shards.repeated import refuse_repeated

    check_sheet(config.output)
    index = ShardIndex.open(*config.data)
    refuse_repeated(index, "--data")
    if config.split != "all":
        index = index.where(split=config.split)
    sheet = view_sheet(
        index.require_rows(f"--split {config.split}"),
        spec,
        title=title_of(config.preset, spec),
        images=config.images,
        num_views=config.num_views,
        seed=config.seed,
        epoch=config.epoch,
    )
    save_sheet(sheet, config.output)
    print(f"written: {config.output} ({sheet.width}x{sheet.height} px)")


if __name__ == "__main__":
    run_command(main)
