"""What an export is asked for, checked before anything is read. Free of torch."""

from collections.abc import Sequence
from pathlib import Path

from shards.base.errors import InputError


def check_asked(format: str | None, output: Path | None, push: str, *, formats: Sequence[str]) -> None:
    """Refuses options that do not go together.

    Raises:
        InputError: naming the one that is missing or too many.
    """
    if push and format not in (None, "hub"):
        raise InputError(f"--push-to-hub {push}: uploads --format hub, and no {format}; leave one of them out")
    if format is None and not push:
        listed = ", ".join(formats[:-1])
        raise InputError(f"--format: not given; give {listed} or {formats[-1]}, or --push-to-hub USER/NAME")
    if output is None and not push:
        raise InputError("--output: not given; name the file to write")
