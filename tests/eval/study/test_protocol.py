"""A protocol says what follows from its name, and takes its splits from what the dataset has."""

import pytest

from eval.study.protocol import choose_protocol, default_test_split
from shards.base.errors import InputError


def rows(*splits: str) -> list[dict]:
    return [{"patient_id": f"p{split}", "split": split} for split in splits]


def test_clean_and_published_differ_as_the_paper_does(make_index) -> None:
    index = make_index(rows("train", "valid", "test"))
    clean, published = choose_protocol(index), choose_protocol(index, "published")
    assert (clean.by, clean.unit) == ("patient", "patient")
    assert (published.by, published.unit) == ("image", "study")
    assert clean.uncertain == published.uncertain == "ignore"
    with pytest.raises(InputError, match="masks uncertain labels"):
        choose_protocol(index, "published", uncertain="ones")
    with pytest.raises(InputError, match="clean or published"):
        choose_protocol(index, "paper")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("splits", "valid", "test"),
    [
        (("train", "valid", "test"), "valid", "test"),
        (("train", "test"), None, "test"),
        (("train", "valid"), None, "valid"),  # tested on, so not chosen by
    ],
)
def test_splits_are_those_of_the_dataset(make_index, splits: tuple, valid: str | None, test: str) -> None:
    protocol = choose_protocol(make_index(rows(*splits)))
    assert (protocol.train_split, protocol.valid_split, protocol.test_split) == ("train", valid, test)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_split": "train"}, "--test-split train: is the training split"),
        ({"valid_split": "train"}, "--valid-split train: is the training split"),
        ({"valid_split": "test"}, "--test-split test: is the validation split"),
        ({"split_rule": "shenzhen", "left_out": "made"}, "--left-out made"),
    ],
)
def test_splits_that_are_equal_are_refused(make_index, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_protocol(make_index(rows("train", "valid", "test")), **settings)


def test_default_test_split_prefers_test_and_refuses_none(make_index) -> None:
    assert default_test_split(make_index(rows("train", "valid", "test"))) == "test"
    with pytest.raises(InputError, match="--test-split"):
        default_test_split(make_index(rows("train")))
    assert choose_protocol(make_index(rows("train")), left_out="made").test_split == "test"  # is not looked at
