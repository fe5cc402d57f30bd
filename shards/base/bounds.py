"""Bounds that many settings share, as types of their fields. That a float is finite is seen to for all of them by
:mod:`shards.base.dataclass_io`."""

from typing import Annotated

from pydantic import AfterValidator, Field

from shards.base.errors import InputError

_MOST = 2**31 - 1


def _not_zero(workers: int) -> int:
    if not workers:
        raise InputError("--workers 0: give a number of processes, or -1 for all cores")
    return workers


Count = Annotated[int, Field(ge=0, le=_MOST)]
PositiveCount = Annotated[int, Field(ge=1, le=_MOST)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
SmallSeed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # where seeds are added up, or go to scikit-learn
Side = Annotated[int, Field(ge=8, le=8192, description="in pixels")]
Width = Annotated[int, Field(ge=1, le=65_536)]  # of a layer of a network
Threads = Annotated[int, Field(ge=1, le=1024)]
ThreadsOrAll = Annotated[int, Field(ge=0, le=1024)]
Workers = Annotated[int, Field(ge=-1, le=1024), AfterValidator(_not_zero)]
Share = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1e30)]  # of learning: whatever single precision can multiply by
RateOrZero = Annotated[float, Field(ge=0, le=1e30)]
Temperature = Annotated[float, Field(ge=1e-3, le=1000, description="usually .07 to .2")]
