"""Arguments that do not fit their annotations are named, and the others come as they were given."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch

from shards.base.bounds import PositiveCount, Share
from shards.base.errors import InputError
from shards.base.values.arguments import InWords, checked_arguments


@dataclass
class Held:
    value: "int"


@checked_arguments
def given(
    count: PositiveCount,
    *names: str | Path,
    share: Share | Sequence[Share] = 1.0,
    kind: Literal["a", "b"] = "a",
    held: "Later | Held | None" = None,
    is_on: bool = False,
    table: Mapping[str, int] | None = None,
    weights: Sequence[float] = (),
    place: Annotated[Path | None, InWords("a file that is there")] = None,
    anything: Any = None,
    untold=None,
    **texts: str,
) -> dict[str, Any]:
    """All of it."""
    return dict(locals())


class Later:
    def __repr__(self) -> str:
        return "later\n" * 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": "16"}, "count '16': give a whole number"),
        ({"count": 16.0}, "count 16.0: give a whole number"),
        ({"count": True}, "count True: give a whole number"),
        ({"count": None}, "count None: give a whole number"),
        ({"count": 0}, "count 0: out of range; give 1 to 2147483647"),
        ({"count": np.int64(0)}, "count 0: out of range; give 1 to 2147483647"),
        ({"share": 5}, "share 5: out of range; give a number above 0 and at most 1 or a list of"),
        ({"share": float("nan")}, "share nan: out of range"),
        ({"share": [0.5, "a"]}, r"share \[0.5, 'a'\]: give a number or a list of numbers"),
        ({"kind": "c"}, "kind 'c': give a or b"),
        ({"held": 3}, "held 3: give a Later or a Held or None"),
        ({"is_on": 1}, "is_on 1: give True or False"),
        ({"table": [1]}, r"table \[1\]: give a dictionary or None"),
        ({"weights": "31"}, "weights '31': give a list of numbers"),
        ({"place": 3}, "place 3: give a file that is there"),
        ({"more": 3}, "more 3|texts 3: give text"),
        ({"count": Later()}, r"count later( later)* ?l?a?\S*\.\.\..*: give a whole number"),
        ({"count": "x", "is_on": "y"}, "^count 'x': give a whole number\nis_on 'y': give True or False$"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        given(**{"count": 1} | arguments)
    assert len(str(caught.value)) < 200


def test_a_wrong_one_of_many_is_named() -> None:
    with pytest.raises(InputError, match="names 3: give text or a path"):
        given(1, "a", 3)


def test_right_arguments_come_as_they_were_given() -> None:
    array, later, weights = np.zeros((1000, 1000)), Later(), [1, 2.5]
    found = given(3, "a", Path("b"), held=later, anything=array, untold=array, weights=weights, text="c")
    assert found["anything"] is found["untold"] is array
    assert (found["held"], found["weights"]) == (later, weights)
    assert found["weights"] is weights
    assert found["held"] is later
    assert (found["count"], found["names"], found["texts"]) == (3, ("a", Path("b")), {"text": "c"})
    held = Held("not looked into")
    assert given(1, held=held)["held"] is held


@pytest.mark.parametrize("number", [np.int32(7), np.uint8(7), torch.tensor(7), np.array(7)])
def test_numbers_of_numpy_and_torch_become_pythons_own(number: Any) -> None:
    found = given(number, share=[np.float32(0.5), torch.tensor(0.25)], weights=np.float32([1, 2]), is_on=np.True_)
    assert type(found["count"]) is int
    assert found["count"] == 7
    assert found["share"] == [0.5, 0.25]
    assert found["weights"] == [1.0, 2.0]
    assert found["is_on"] is True
    assert type(given(1, share=np.float64(0.5))["share"]) is float


def test_it_looks_like_the_function_it_checks() -> None:
    assert (given.__name__, given.__doc__) == ("given", "All of it.")
    assert list(inspect.signature(given).parameters)[:3] == ["count", "names", "share"]
    with pytest.raises(TypeError, match="missing a required argument: 'count'"):
        given()


class Counter:
    @classmethod
    @checked_arguments
    def of(cls, count: int) -> "Counter":
        return cls()

    @checked_arguments
    def add(self, count: int) -> int:
        return count


def test_methods_and_class_methods_are_checked() -> None:
    assert Counter.of(1).add(2) == 2
    with pytest.raises(InputError, match="count 'a': give a whole number"):
        Counter().add("a")
