"""``moco-cxr embed``: :mod:`eval.inference.embed`."""

import sys
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from eval.inference.config import EmbedConfig
from shards.base.commands import run_single


def main() -> int | None:
    """Reads the arguments, and writes.

    Raises:
        InputError: a mistake in them, or in what they name.
    """
    return run_single(embed, program="moco-cxr embed")


def embed(config: OmitArgPrefixes[EmbedConfig], output: Path) -> None:
    """Write the features of any encoder for images.

    Images are read as packing reads them; those that cannot be are in the output with the reason.

    Args:
        config: What, on what, and how.
        output: File to write, .parquet or .npy, which has its keys in NAME.keys.csv; one that is there is replaced.
    """
    from eval.inference.embed import run_embed  # torch takes seconds to import, --help needs none

    for line in run_embed(config, output):
        print(line, file=sys.stderr)
    print(f"written: {output}")
