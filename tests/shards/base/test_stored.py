"""YAML as people write it: what is a number, what is text, and what is a mistake."""

import pytest

from shards.base.errors import InputError
from shards.base.stored import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("7", 7),
        ("-7", -7),
        ("0x1f", 31),
        ("0o17", 15),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-02", "2020-01-02"),
        ("on", "on"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("no", "no"),
        ("n", "n"),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("'1e-4'", "1e-4"),
        ("1e-4 x", "1e-4 x"),
        ("{on: 1, off: 0}", {"on": 1, "off": 0}),
        ("[1e-3, 2]", [1e-3, 2]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x: {a: 1, a: 1}", "- {a: 1}\n- {'a': 1, a: 2}"])
def test_a_name_that_is_there_twice_is_a_mistake(text):
    with pytest.raises(InputError, match="is no YAML .*'a' is there twice"):
        parse_yaml(text)


def test_text_comes_back_as_text_and_numbers_as_numbers():
    values = ["1e-4", "on", "null", "", "010", "0o17", "12:30", "~", ".5", "é", " a ", 1e-4, 1e22, 3, True, None, 0.1]
    assert parse_yaml(dump_yaml(values)) == values
