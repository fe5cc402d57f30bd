"""What is wrong with values that do not fit a dataclass, in words: the field, its value and the remedy."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")


def in_words(kind: type, error: ValidationError, where: str) -> list[str]:
    """A line for each field that is wrong; ``where`` as of :func:`shards.base.dataclass_io.from_mapping`."""
    lines: dict[str, str] = {}
    for each in error.errors(include_url=False):
        names, parts, section = _follow(kind, each["loc"])
        name, value = _named(names, where), each["input"]
        match each["type"]:
            case "unexpected_keyword_argument" | "extra_forbidden":
                known = [field.name for field in dataclasses.fields(section)]
                (nearest,) = difflib.get_close_matches(names[-1], known, n=1, cutoff=0)
                lines[name] = f"{name}: no such field; did you mean {_named([*names[:-1], nearest], where)}?"
            case "missing" if names and each["loc"][-1] == names[-1]:
                lines[name] = f"{name}: missing; give it"
            case "value_error":  # of a class that checks itself
                lines[name] = str(each["ctx"]["error"])
            case "dataclass_type" | "dict_type":
                lines[name] = f"{name + '.' if name else 'config'} {value!r}: is no section; give field: value lines"
            case _ if name in lines:  # another branch of a union
                lines[name] += f" or {_wanted(each, parts)}"
            case wrong if wrong in _OUT_OF_RANGE:
                lines[name] = f"{name} {value}: out of range; give {_wanted(each, parts)}"
            case _:
                lines[name] = f"{name} {value!r}: give {_wanted(each, parts)}"
    return list(lines.values())


def _follow(kind: type, location: Sequence[int | str]) -> tuple[list[str], list[Any], Any]:
    """The names down to a field, all that its type is made of, and the dataclass that it belongs to.

    In pydantic's ``location`` numbers of items and branches of unions stand between the names.
    """
    names: list[str] = []
    parts: list[Any] = [kind]
    section: Any = kind
    for step in location:
        inner = next((part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)), None)
        if isinstance(step, str) and any(map(_is_mapping, parts)):
            names.append(step)
            parts = [part for part in parts if not _is_mapping(part)]
        elif isinstance(step, str) and inner:
            names.append(step)
            section, parts = inner, _inside(get_type_hints(inner, include_extras=True).get(step))
    return names, parts, section


def _is_mapping(hint: Any) -> bool:
    return get_origin(hint) in (dict, Mapping)


def _inside(hint: Any) -> list[Any]:
    """A type, what it is made of, and what annotates these."""
    return [hint, *(each for part in get_args(hint) for each in _inside(part))]


def _named(names: Sequence[str], where: str) -> str:
    name = ".".join(names)
    if where == "--":
        return "--" + name.replace("_", "-")
    return f"{where}.{name}" if where and name else where or name


def _wanted(error: ErrorDetails, parts: Sequence[Any]) -> str:
    match error["type"]:
        case "literal_error":
            return str(error["ctx"]["expected"]).replace("'", "").replace(", ", " or ")
        case "missing" | "too_long":
            return f"{next(len(get_args(part)) for part in parts if get_origin(part) is tuple)} values"
        case kind if kind in _OUT_OF_RANGE:
            return _range(parts)
        case "tuple_type":
            return "list"
    return error["type"].removesuffix("_type")  # int, float, string, bool


def _range(parts: Sequence[Any]) -> str:
    """The bounds among the annotations, and the words that follow them."""
    fields = [part for part in parts if isinstance(part, FieldInfo)]
    rules = [*parts, *(rule for each in fields for rule in each.metadata)]
    bounds = {name: getattr(rule, name) for name in ("gt", "ge", "lt", "le") for rule in rules if hasattr(rule, name)}
    if "gt" in bounds and int in parts:
        bounds["ge"] = bounds.pop("gt") + 1
    match bounds:
        case {"ge": low, "le": high}:
            words = f"{low} to {high}"
        case {"ge": low, "lt": high}:
            words = f"{low} to below {high}"
        case {"gt": low, "le": high}:
            words = f"a number above {low} and at most {high}"
        case {"gt": low, "lt": high}:
            words = f"a number above {low} and below {high}"
        case {"ge": low}:
            words = f"{low} or more"
        case {"gt": low}:
            words = f"a number above {low}"
        case {"lt": high}:
            words = f"a number below {high}"
        case {"le": high}:
            words = f"at most {high}"
    return ", ".join([words, *(each.description for each in fields if each.description)])
