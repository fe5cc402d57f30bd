"""Settings and results in and out: frozen dataclasses to and from plain mappings and YAML, within their bounds.

A bound stands with the type of its field. What is usual may follow in words, which messages repeat:

    temperature: Annotated[float, Field(gt=0, description="usually .07 to .2")] = 0.2
"""

import dataclasses
from functools import cache
from typing import Any, Literal, NotRequired, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic_core import to_json, to_jsonable_python
from typing_extensions import TypedDict

from shards.base.errors import InputError
from shards.base.stored import dump_yaml, parse_yaml
from shards.base.values.problems import damage, mistakes

Config = TypeVar("Config")
_Unknown = Literal["forbid", "ignore"]


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain nested dictionaries, lists, numbers and strings, as YAML and JSON hold them."""
    mapping: dict[str, Any] = to_jsonable_python(config, fallback=_plain)
    return mapping


def to_yaml(config: Any) -> str:
    return dump_yaml(to_mapping(config))


def from_yaml(kind: type[Config], text: str | bytes) -> Config:
    """The inverse of :func:`to_yaml`.

    Raises:
        InputError: as :func:`shards.base.stored.parse_yaml` and :func:`from_mapping`.
    """
    return from_mapping(kind, parse_yaml(text))


def from_mapping(kind: type[Config], mapping: Any, where: str = "") -> Config:
    """Builds the dataclass ``kind`` from what YAML and JSON hold, strictly: no text and no truth value is a number, and
    no number is infinite or NaN.

    Args:
        where: section that messages put before a field's name; ``--`` where fields are options of a command line.

    Raises:
        InputError: a line for each field that is unknown, with the nearest known one, missing, of the wrong type, or
            out of range.
    """
    try:
        return kind(**_validated(kind, mapping))
    except ValidationError as error:
        raise InputError("\n".join(mistakes(kind, error, where))) from None


def from_written(kind: type[Config], mapping: Any, *, unknown: _Unknown = "forbid") -> Config:
    """As :func:`from_mapping`, of what a program and not a user has written.

    Args:
        unknown: what becomes of fields that ``kind`` does not have.

    Raises:
        InputError: the first thing that is wrong, in words that can follow those of the caller.
    """
    try:
        return kind(**_validated(kind, mapping, unknown))
    except ValidationError as error:
        raise InputError(damage(kind, error)) from None


def check_fields(config: Any, where: str = "") -> None:
    """Refuses a dataclass with a value of the wrong type or out of range. A class may call it as it is made.

    Raises:
        InputError: as :func:`from_mapping`.
    """
    try:
        _validated(type(config), config)
    except ValidationError as error:
        raise InputError("\n".join(mistakes(type(config), error, where))) from None


def differing_fields(old: Any, new: Any) -> list[str]:
    """Names of the fields in which two configs differ, as in ``run.epochs``."""
    first, second = _flat(to_mapping(old)), _flat(to_mapping(new))
    return [name for name in second if first.get(name) != second[name]]


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _plain(value: Any) -> Any:
    """A number of NumPy as Python's own."""
    return value.item() if hasattr(value, "item") else str(value)


def _validated(kind: type, values: Any, unknown: _Unknown = "forbid") -> dict[str, Any]:
    # By way of JSON, where a list is a tuple, a string a path and a whole number a float, though all is strict.
    return _fields(kind, unknown).validate_json(to_json(values, fallback=_plain))


@cache
def _fields(kind: type, unknown: _Unknown) -> TypeAdapter[dict[str, Any]]:
    """Validates the fields of a dataclass without making one, so that ``__post_init__`` may ask it."""
    hints = get_type_hints(kind, include_extras=True)
    absent = dataclasses.MISSING
    fields = {
        each.name: hints[each.name]
        if each.default is absent and each.default_factory is absent
        else NotRequired[hints[each.name]]
        for each in dataclasses.fields(kind)
    }
    # Of the dataclasses within, too.
    config = ConfigDict(strict=True, extra=unknown, allow_inf_nan=False)
    return TypeAdapter(with_config(config)(TypedDict(kind.__name__, fields)))  # type: ignore[operator]
