"""``moco-cxr predict``: :mod:`eval.inference.predict`."""

import sys
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from eval.inference.config import PredictConfig
from shards.base.commands import run_single


def main() -> int | None:
    """Reads the arguments, and writes.

    Raises:
        InputError: a mistake in them, or in what they name.
    """
    return run_single(predict, program="moco-cxr predict")


def predict(config: OmitArgPrefixes[PredictConfig], output: Path) -> None:
    """Write what a kept classifier says of images: a probability for each label, in a row an image.

    Images are read as packing reads them; those that cannot be are in the output with the reason. Not a medical device:
    for research, not for decisions about patients.

    Args:
        config: What, on what, and how.
        output: Table to write, .csv or .parquet; one that is there is replaced.
    """
    from eval.inference.predict import run_predict  # torch takes seconds to import, --help needs none

    for line in run_predict(config, output):
        print(line, file=sys.stderr)
    print(f"written: {output}")
