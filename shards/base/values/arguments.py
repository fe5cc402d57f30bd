"""Arguments of public functions, checked against their annotations before anything is done.

    @checked_arguments
    def fraction(share: Share, *, draw: Count = 0) -> "ShardIndex": ...

``fraction("a")`` raises ``share 'a': give a number``. Where a type is not told in words that users know, its annotation
has them: ``Annotated[Path | None, InWords("a file")]``.
"""

import dataclasses
import functools
import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError

from shards.base.errors import InputError
from shards.base.values.problems import OUT_OF_RANGE, bounds_in_words, made_of

P = ParamSpec("P")
R = TypeVar("R")

_CONFIG = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_NAMES = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "truth values"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    NoneType: ("None", "None"),
}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


@dataclasses.dataclass(frozen=True)
class InWords:
    """What to give for an argument, in an annotation."""

    words: str


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which refuses arguments that are not of the types it is annotated with, or out of their bounds.

    Numbers of NumPy and torch come to it as Python's own, and arrays of them where it takes a list; all else comes as
    it was given. Parameters without annotation or of ``Any`` are let pass.

    Raises:
        InputError: of the function that is made: a line for each wrong argument, with its value and what to give.
    """
    signature = inspect.signature(function)

    @functools.cache  # not before the first call: annotations may name what is defined below the function
    def checks() -> dict[str, _Check]:
        hints = get_type_hints(function, include_extras=True)
        return {name: _Check(hints[name]) for name in signature.parameters if hints.get(name, Any) is not Any}

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        lines = []
        for name, value in bound.arguments.items():
            check = checks().get(name)
            if check is None:
                continue
            try:
                bound.arguments[name] = _passed(check, signature.parameters[name].kind, value)
            except _WrongValueError as wrong:
                lines.append(f"{name} {wrong}")
        if lines:
            raise InputError("\n".join(lines))
        return function(*bound.args, **bound.kwargs)

    return checked


class _WrongValueError(Exception):
    """Its message is the value and what to give."""


class _Check:
    """The type of one parameter."""

    def __init__(self, hint: Any) -> None:
        self._hint = hint
        self._adapter: TypeAdapter[Any] = TypeAdapter(_by_instance(hint), config=_CONFIG)

    def passed(self, value: Any) -> Any:
        """The value as the function is to have it.

        Raises:
            _WrongValueError: it is of another type, or out of range.
        """
        try:
            checked = self._adapter.validate_python(value)
        except ValidationError:
            plain = _plain(value)
            try:
                self._adapter.validate_python(plain)
            except ValidationError as error:
                raise _WrongValueError(self._told(value, plain, error)) from None
            return plain
        return float(checked) if isinstance(checked, float) else value  # NumPy's floats pass for Python's

    def _told(self, value: Any, plain: Any, error: ValidationError) -> str:
        if any(each["type"] in OUT_OF_RANGE for each in error.errors(include_url=False)):
            return f"{_in_one_line(plain)}: out of range; give {_in_words(self._hint, with_bounds=True)}"
        return f"{_in_one_line(value)}: give {_in_words(self._hint)}"


def _passed(check: _Check, kind: Any, value: Any) -> Any:
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return tuple(map(check.passed, value))
    if kind is inspect.Parameter.VAR_KEYWORD:
        return {name: check.passed(each) for name, each in value.items()}
    return check.passed(value)


def _plain(value: Any) -> Any:
    """What NumPy and torch hold as Python's own, in lists too."""
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.tolist() if hasattr(value, "tolist") else value


def _in_one_line(value: Any) -> str:
    return " ".join(_SHORT.repr(value).split())


def _by_instance(hint: Any) -> Any:
    """The type with classes that are taken as they are, and not looked into, in place of their fields."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Annotated[hint, InstanceOf()]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_by_instance, get_args(hint)))]  # noqa: UP007 - of types that are computed
    if get_origin(hint) is Annotated:
        inner, *rules = get_args(hint)
        return Annotated[(_by_instance(inner), *rules)]
    return hint


def _in_words(hint: Any, *, with_bounds: bool = False, is_plural: bool = False) -> str:
    """What to give for a type."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        told = next((rule.words for rule in inside if isinstance(rule, InWords)), None)
        if told is not None:
            return told
        is_number = inside[0] in (int, float)
        if with_bounds and is_number:
            return bounds_in_words(made_of(hint))
        return _in_words(inside[0], with_bounds=with_bounds, is_plural=is_plural)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(part, with_bounds=with_bounds, is_plural=is_plural) for part in inside)
    if origin is Literal:
        return " or ".join(map(str, inside))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dictionary"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {_in_words(inside[0], with_bounds=with_bounds, is_plural=True)}"
    if hint in _NAMES:
        return _NAMES[hint][is_plural]
    return f"a {getattr(hint, '__name__', hint)}"
