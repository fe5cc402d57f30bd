from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field, NonNegativeFloat, PositiveInt

from shards.base.dataclass_io import (
    check_fields,
    differing_fields,
    from_mapping,
    from_written,
    from_yaml,
    to_mapping,
    to_yaml,
)
from shards.base.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Rate:
    value: Annotated[float, Field(gt=0, description="usually .1")] = 0.1
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    power: NonNegativeFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    steps: PositiveInt
    name: Literal["a", "b"] = "a"
    rate: Rate = field(default_factory=Rate)
    folder: Path | None = None
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    fill: Annotated[int, Field(ge=0, le=255)] | Literal["edge"] = 0
    is_long: bool = False
    threads: PositiveInt | Literal["all"] = 1
    rates: Mapping[str, Rate] = field(default_factory=dict)
    names: Annotated[tuple[str, ...], Field(min_length=1)] = ("a",)
    more: Any = None


@dataclass(frozen=True)
class Range:
    """A value that checks itself as it is made."""

    low: Annotated[float, Field(ge=0)] = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "range")
        if self.low > self.high:
            raise InputError(f"range.low {self.low}: above range.high {self.high}")


@dataclass(frozen=True)
class Holder:
    range: Range = Range()


PLAN = Plan(
    steps=3,
    folder=Path("a/b"),
    shares=(0.5, 1.0),
    fill="edge",
    rates={"first": Rate(value=2.0)},
    more={"any": [1, "thing", None]},
)


def test_there_and_back() -> None:
    assert from_mapping(Plan, to_mapping(PLAN)) == PLAN
    assert from_yaml(Plan, to_yaml(PLAN)) == PLAN
    assert to_mapping(PLAN)["shares"] == [0.5, 1.0]
    assert to_mapping(PLAN)["folder"] == "a/b"
    assert list(to_mapping(PLAN)) == list(Plan.__dataclass_fields__)


def test_whole_numbers_are_floats_and_absent_fields_their_defaults() -> None:
    made = from_mapping(Plan, {"steps": 1, "pair": [0, 1], "rate": {"value": 1}})
    assert made == Plan(steps=1, rate=Rate(value=1.0))
    assert [type(value) for value in (*made.pair, made.rate.value)] == [float] * 3


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (3, "config 3: is no section; give field: value lines"),
        ({}, "steps: missing; give it"),
        ({"steps": 1, "rat": 2}, "rat: no such field; did you mean rate?"),
        ({"steps": 1, "rate": {"valu": 2}}, "rate.valu: no such field; did you mean rate.value?"),
        ({"steps": 1, "rate": 3}, "rate. 3: is no section; give field: value lines"),
        ({"steps": "3"}, "steps '3': give a whole number"),
        ({"steps": 3.0}, "steps 3.0: give a whole number"),
        ({"steps": True}, "steps True: give a whole number"),
        ({"steps": None}, "steps None: give a whole number"),
        ({"steps": 0}, "steps 0: out of range; give 1 or more"),
        ({"steps": 1, "is_long": 1}, "is_long 1: give true or false"),
        ({"steps": 1, "folder": 3}, "folder 3: give text"),
        ({"steps": 1, "name": "c"}, "name 'c': give a or b"),
        ({"steps": 1, "pair": [1]}, "pair [1]: give 2 values"),
        ({"steps": 1, "pair": [1, 2, 3]}, "pair [1, 2, 3]: give 2 values"),
        ({"steps": 1, "pair": 1}, "pair 1: give a list"),
        ({"steps": 1, "shares": [1, 2]}, "shares 2: out of range; give a number above 0 and at most 1"),
        ({"steps": 1, "shares": [None, "x"]}, "shares None: give a number\nshares 'x': give a number"),
        ({"steps": 1, "fill": 256}, "fill 256: out of range; give 0 to 255 or edge"),
        ({"steps": 1, "fill": "black"}, "fill 'black': give a whole number or edge"),
        ({"steps": 1, "threads": 0}, "threads 0: out of range; give 1 or more or all"),
        ({"steps": 1, "rate": {"value": 0}}, "rate.value 0: out of range; give a number above 0, usually .1"),
        ({"steps": 1, "rate": {"decay": 1}}, "rate.decay 1: out of range; give 0 to below 1"),
        ({"steps": 1, "rate": {"power": -1}}, "rate.power -1: out of range; give 0 or more"),
        ({"steps": 1, "names": []}, "names: no value given; give at least one"),
        ({"steps": 1, "rates": {"value": {"value": "x"}}}, "rates.value.value 'x': give a number"),
    ],
)
def test_what_does_not_fit_is_named(mapping: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_mapping(Plan, mapping)
    assert str(caught.value) == message


def test_all_problems_are_told_at_once_in_the_words_of_the_caller() -> None:
    mapping = {"steps": 0, "is_lng": True, "rate": {"decay": -1}}
    with pytest.raises(InputError) as caught:
        from_mapping(Plan, mapping, "plan")
    assert str(caught.value).splitlines() == [
        "plan.steps 0: out of range; give 1 or more",
        "plan.rate.decay -1: out of range; give 0 to below 1",
        "plan.is_lng: no such field; did you mean plan.is_long?",
    ]
    with pytest.raises(InputError, match="^--is-long 2: give true or false$"):
        check_fields(replace(PLAN, is_long=2), "--")  # type: ignore[arg-type]


def test_made_values_are_checked_like_read_ones() -> None:
    check_fields(PLAN)
    with pytest.raises(InputError, match=r"^rate\.decay 1\.5: out of range; give 0 to below 1$"):
        check_fields(replace(PLAN, rate=Rate(decay=1.5)))


def test_numbers_of_numpy_are_numbers() -> None:
    check_fields(replace(PLAN, steps=np.int64(3), rate=Rate(value=np.float32(0.5))))  # type: ignore[arg-type]
    assert to_mapping(Rate(value=np.float32(0.5)))["value"] == 0.5  # type: ignore[arg-type]


def test_a_class_may_check_itself() -> None:
    assert from_mapping(Holder, {"range": {"low": 0.5}}) == Holder(Range(0.5))
    for low, message in ((-1.0, "range.low -1.0: out of range; give 0 or more"), (2.0, "range.low 2.0: above")):
        with pytest.raises(InputError, match=message):
            Range(low)
        with pytest.raises(InputError, match=f"^{message}"):
            from_mapping(Holder, {"range": {"low": low}})
    with pytest.raises(InputError, match="^range.low 2.0: above range.high 1.0$"):
        from_written(Holder, {"range": {"low": 2.0}})


def test_fields_of_a_later_version_can_be_passed_over() -> None:
    later = {"steps": 1, "new": 2, "rate": {"newer": 3}}
    assert from_written(Plan, later, unknown="ignore") == Plan(steps=1)
    with pytest.raises(InputError, match="^rate with newer$"):
        from_written(Plan, later)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([1], "plan is [1], not a mapping"),
        ({}, "plan without steps"),
        ({"steps": "x"}, "steps is 'x', not a whole number"),
        ({"steps": 0}, "steps is 0, not 1 or more"),
        ({"steps": 1, "name": "c"}, "name is 'c', not a or b"),
        ({"steps": 1, "rates": {"first": {"value": "fast"}}}, "first: value is 'fast', not a number"),
        ({"steps": 1, "rates": {"first": 3}}, "rates: first is 3, not a mapping"),
    ],
)
def test_what_is_damaged_is_named(mapping: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_written(Plan, mapping)
    assert str(caught.value) == message


def test_differing_fields_are_named_with_their_sections() -> None:
    assert differing_fields(PLAN, replace(PLAN, steps=4, rate=Rate(decay=0.5))) == ["steps", "rate.decay"]
