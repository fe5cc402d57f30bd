"""Where a run was, in the ``complete.json`` of its checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from shards.base.bounds import Count, Seed
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from train.checkpoints.place import MARK
from train.checkpoints.snapshot import BrokenSnapshot, read_mark


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Of the loader."""

    seed: Seed
    epoch: Count
    position: Count


@dataclass(frozen=True, kw_only=True)
class _Mark:
    """Where a run was, as far as it is read again."""

    step: Count
    batch: Count
    loader: _Place
    num_ranks: Annotated[int, Field(ge=1, le=1_000_000)]
    data: list[Any]
    score: float | None


def read_run_mark(folder: Path) -> dict[str, Any]:
    """What :meth:`train.run.checkpoint.Checkpoints.save` has written of itself.

    Raises:
        BrokenSnapshot: as :func:`train.checkpoints.snapshot.read_mark`; or it is not that.
    """
    mark = read_mark(folder)
    try:
        from_written(_Mark, mark, unknown="ignore")
    except InputError as error:
        raise BrokenSnapshot(f"{MARK}: {error}") from None
    return mark
