"""Settings in plain form: dataclasses to and from nested dictionaries, lists, numbers and strings, and YAML."""

import dataclasses
import difflib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from shards.base.errors import InputError

Config = TypeVar("Config")


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain nested dictionaries, lists, numbers and strings, as YAML and JSON hold them."""
    mapping: dict[str, Any] = _plain(dataclasses.asdict(config))
    return mapping


def to_yaml(config: Any) -> str:
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def from_yaml(kind: type[Config], text: str) -> Config:
    """The inverse of :func:`to_yaml`.

    Raises:
        InputError: an unknown field, with the nearest known one, or a value of the wrong type.
    """
    return from_mapping(kind, yaml.safe_load(text))


def from_mapping(kind: type[Config], mapping: Any, prefix: str = "") -> Config:
    """Builds the dataclass ``kind`` from plain dictionaries, strictly.

    Raises:
        InputError: an unknown field, with the nearest known one, or a value of the wrong type.
    """
    if not isinstance(mapping, dict):
        raise InputError(f"{prefix or 'config'} {mapping!r}: is no section; give field: value lines")
    hints = get_type_hints(kind)
    for name in mapping:
        if name not in hints:
            nearest = difflib.get_close_matches(str(name), hints, n=1, cutoff=0)[0]
            raise InputError(f"{prefix}{name}: no such field; did you mean {prefix}{nearest}?")
    return kind(**{name: _typed(hints[name], value, f"{prefix}{name}") for name, value in mapping.items()})


def differing_fields(old: Any, new: Any) -> list[str]:
    """Names of the fields in which two configs differ, as in ``run.epochs``."""
    first, second = _flat(to_mapping(old)), _flat(to_mapping(new))
    return [name for name in second if first.get(name) != second[name]]


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case Path():
            return str(value)
    return value


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _typed(hint: Any, value: Any, name: str) -> Any:
    """``value`` as the type ``hint`` says; only the kinds of hints that settings use."""
    if dataclasses.is_dataclass(hint):
        return from_mapping(hint, value, f"{name}.")  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return _typed_union(arguments, value, name)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            return tuple(_typed(kind, item, name) for kind, item in zip(kinds, value, strict=True))
    elif origin is Literal and value in arguments:
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    wanted = " or ".join(map(str, arguments)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise InputError(f"{name} {value!r}: give {wanted}")


def _typed_union(hints: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in hints:
        return None
    kinds = [hint for hint in hints if hint is not type(None)]
    for kind in kinds[:-1]:
        try:
            return _typed(kind, value, name)
        except InputError:
            continue  # the next kind may take it
    return _typed(kinds[-1], value, name)
