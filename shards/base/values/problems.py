"""What is wrong with values that do not fit a dataclass, in words: the field, its value and the remedy."""

import dataclasses
import difflib
import reprlib
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
}
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_NO_SECTION = ("dataclass_type", "dict_type")
OUT_OF_RANGE = (
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    *("multiple_of", "finite_number"),
)


def mistakes(kind: type, error: ValidationError, where: str) -> list[str]:
    """A line for each field that a user gave wrongly; ``where`` as of :func:`shards.base.dataclass_io.from_mapping`."""
    lines: dict[str, str] = {}
    for each in error.errors(include_url=False):
        names, parts, section = _follow(kind, each["loc"])
        name, value, wrong = _named(names, where), each["input"], each["type"]
        key = f"{name} {value!r}"
        if wrong in _UNKNOWN:
            known = [field.name for field in dataclasses.fields(section)]
            nearest = difflib.get_close_matches(names[-1], known, n=1, cutoff=0)
            like = f"did you mean {_named([*names[:-1], *nearest], where)}?" if nearest else "there is none"
            lines[key] = f"{name}: no such field; {like}"
        elif _is_absent(each, names):
            lines[key] = f"{name}: missing; give it"
        elif wrong == "too_short":  # where Field(min_length=1) asks for one; also where all that was given is wrong
            if not value:
                lines[key] = f"{name}: no value given; give at least one"
        elif wrong == "value_error":  # of a class that checks itself
            lines[key] = str(each["ctx"]["error"])
        elif wrong in _NO_SECTION and key in lines:  # another branch of a union
            lines[key] += " or field: value lines"
        elif wrong in _NO_SECTION:
            lines[key] = f"{name + '.' if name else 'config'} {value!r}: is no section; give field: value lines"
        elif key in lines:
            lines[key] += f" or {_wanted(each, parts)}"
        elif wrong in OUT_OF_RANGE:
            lines[key] = f"{name} {value}: out of range; give {_wanted(each, parts)}"
        else:
            lines[key] = f"{name} {value!r}: give {_wanted(each, parts)}"
    return list(lines.values())


def damage(kind: type, error: ValidationError) -> str:
    """What is wrong first in what a program wrote, such as ``comparison without rate``."""
    first = error.errors(include_url=False)[0]
    names, parts, section = _follow(kind, first["loc"])
    if first["type"] in _UNKNOWN:
        return f"{_word(section)} with {names[-1]}"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if _is_absent(first, names):
        return f"{_word(section)} without {names[-1]}"
    wanted = "a mapping" if first["type"] in _NO_SECTION else _wanted(first, parts)
    return f"{': '.join(names[-2:]) or _word(kind)} is {reprlib.repr(first['input'])}, not {wanted}"


def _word(kind: type) -> str:
    return kind.__name__.lstrip("_").lower()


def _follow(kind: type, location: Sequence[int | str]) -> tuple[list[str], list[Any], Any]:
    """The names down to a field, all that its type is made of, and the dataclass that it belongs to.

    In pydantic's ``location`` numbers of items and branches of unions stand between the names.
    """
    names: list[str] = []
    parts: list[Any] = [kind]
    section: Any = kind
    is_branch = False  # whether the next step is one of a union
    for step in location:
        if is_branch:
            is_branch = False
            continue
        inner = next((part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)), None)
        if isinstance(step, str) and any(map(_is_mapping, parts)):
            names.append(step)
            parts = [part for part in parts if not _is_mapping(part)]
        elif isinstance(step, str) and inner:
            names.append(step)
            section, parts = inner, made_of(get_type_hints(inner, include_extras=True).get(step))
            is_branch = _has_branches(parts[0])
    return names, parts, section


def _is_absent(error: ErrorDetails, names: Sequence[str]) -> bool:
    """A field, and not one item of a tuple."""
    return error["type"] == "missing" and error["loc"][-1] == names[-1]


def _is_mapping(hint: Any) -> bool:
    return get_origin(hint) in (dict, Mapping)


def _has_branches(hint: Any) -> bool:
    """A union of several types that are not None."""
    return get_origin(hint) in (Union, UnionType) and len([each for each in get_args(hint) if each is not NoneType]) > 1


def made_of(hint: Any) -> list[Any]:
    """A type, what it is made of, and what annotates these."""
    return [hint, *(each for part in get_args(hint) for each in made_of(part))]


def _named(names: Sequence[str], where: str) -> str:
    name = ".".join(names)
    if where == "--":
        return "--" + name.replace("_", "-")
    named = f"{where}.{name}" if where and name else where or name
    return named.replace("_", "-") if where.startswith("--") else named


def _wanted(error: ErrorDetails, parts: Sequence[Any]) -> str:
    match error["type"]:
        case "literal_error":
            return str(error["ctx"]["expected"]).replace("'", "").replace(", ", " or ")
        case "missing" | "too_long":
            return f"{next(len(get_args(part)) for part in parts if get_origin(part) is tuple)} values"
        case kind if kind in OUT_OF_RANGE:
            return bounds_in_words(parts)
    kind = error["type"].removesuffix("_type")
    return _KINDS.get(kind, kind)


def bounds_in_words(parts: Sequence[Any]) -> str:
    """The bounds among the annotations that :func:`made_of` finds, and the words that follow them."""
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
        case _:
            words = "a finite number"
    steps = [f"a multiple of {rule.multiple_of}" for rule in rules if hasattr(rule, "multiple_of")]
    return ", ".join([words, *steps, *(each.description for each in fields if each.description)])
