import socket
from typing import Any

import pytest
import torch

import train.ranks.door
from shards.base.errors import InputError
from train.ranks.door import compare_facts, let_pass, pass_together
from train.ranks.world import World

ALONE = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
FIRST, SECOND = (World(rank=rank, size=2, local_rank=rank, device=torch.device("cpu")) for rank in range(2))
HERE = socket.gethostname()


def refuse() -> str:
    raise InputError("--data here: wrong")


def meets(monkeypatch: pytest.MonkeyPatch, *, first: Any = None, second: Any = None) -> None:
    """The other rank says this; None is what this one says."""
    monkeypatch.setattr(
        train.ranks.door, "gather", lambda mine: [mine if first is None else first, mine if second is None else second]
    )


def test_all_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    meets(monkeypatch, second=("", "elsewhere"))
    assert pass_together(lambda: "found", FIRST) == "found"
    assert pass_together(lambda: "found", ALONE) == "found"
    let_pass(lambda: None, ALONE)


def test_what_one_rank_finds_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    meets(monkeypatch, second=("--data here: missing", "elsewhere"))
    with pytest.raises(InputError, match=r"^rank 1 on elsewhere: --data here: missing$"):
        pass_together(lambda: "found", FIRST)
    meets(monkeypatch, first=("", "elsewhere"))
    with pytest.raises(InputError, match=rf"^rank 1 on {HERE}: --data here: wrong$"):
        pass_together(refuse, SECOND)


def test_what_all_find_is_said_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    meets(monkeypatch, second=("--data here: wrong", "elsewhere"))
    with pytest.raises(InputError, match=r"^--data here: wrong$"):
        pass_together(refuse, FIRST)
    with pytest.raises(InputError, match=r"^--data here: wrong$"):
        pass_together(refuse, ALONE)


def test_the_leading_rank_checks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    meets(monkeypatch, second="")
    with pytest.raises(InputError, match=r"^--data here: wrong$"):
        let_pass(refuse, FIRST)
    meets(monkeypatch, first="--output there: held")
    with pytest.raises(InputError, match=r"^--output there: held$"):
        let_pass(refuse, SECOND)
    meets(monkeypatch, first="")
    let_pass(refuse, SECOND)  # which does not look itself


def test_facts_that_differ_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"--run.seed": "1", "torch": "2.15", "rows": "64", "code": "a", "gone": "x"}
    meets(monkeypatch, second=(facts, "elsewhere"))
    compare_facts(facts, FIRST)
    meets(monkeypatch, second=(facts | {"torch": "2.14"}, "elsewhere"))
    with pytest.raises(
        InputError, match=rf"^rank 1 on elsewhere: differs from rank 0 on {HERE}: torch is 2.14, not 2.15; give all"
    ):
        compare_facts(facts, FIRST)
    meets(monkeypatch, second=({"--run.seed": "2", "rows": "63", "torch": "2.15", "code": "b"}, "elsewhere"))
    with pytest.raises(InputError, match=r"seed is 2, not 1; rows is 63, not 64; code is b, not a and 1 more; give"):
        compare_facts(facts, FIRST)
