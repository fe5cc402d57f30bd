"""Settings as a file: ``--config FILE.yaml``, which every command takes. A line is an option without its dashes, and
the options of a section stand below its name. What is given on the command line goes before the file, the file before
defaults.

    source: chexpert
    input: CheXpert-v1.0-small
    shard-images: 500
"""

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from shards.base.dataclass_io import from_mapping, to_mapping
from shards.base.errors import InputError
from shards.base.stored import parse_yaml, read_file

Config = TypeVar("Config")
OPTION = "--config"
ConfigFile = Annotated[
    Path | None,
    tyro.conf.arg(
        name="config",
        metavar="FILE.yaml",
        help="Settings as a file: options without their dashes, those of a section below its name. Options that are "
        "given here go before it.",
    ),
]
"""The type of a command's argument for the file, which has been read by then."""
_EMPTY = inspect.Parameter.empty


def config_path(arguments: Sequence[str]) -> Path | None:
    """The file that the arguments of a command name; also None where the name is missing, as the parser then says."""
    for number, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option == OPTION:
            following = arguments[number + 1] if number + 1 < len(arguments) else "--"
            name = value if equals else following
            return None if name.startswith("--") else Path(name)
    return None


def given_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """What the file that the arguments name holds; nothing where they name none.

    Raises:
        InputError: it cannot be read, or holds no settings.
    """
    path = config_path(arguments)
    if path is None:
        return {}
    with of_file(path):
        return read_settings(path)


def names_in_file(path: Path, arguments: Sequence[str], option: str = OPTION) -> dict[str, str]:
    """The settings that come from a file and not from the arguments beside it, such as ``run.epochs``, each with what
    the file is called in messages, for :class:`shards.base.words.Spelling`."""
    given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in arguments}
    return {name: f"{option} {path}" for name in _flat(read_settings(path)) if name not in given}


def _flat(content: Mapping[str, Any], section: str = "") -> Iterator[str]:
    for name, value in content.items():
        named = f"{section}{name}".replace("-", "_")
        if isinstance(value, dict):
            yield from _flat(value, f"{named}.")
        else:
            yield named


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, by their names with underscores.

    Raises:
        InputError: it cannot be read, or holds none; in words that can follow the file's name.
    """
    try:
        content = parse_yaml(read_file(path))
    except InputError as error:
        raise InputError(f"{error}; give a YAML file of settings, such as the config.yaml of a run") from None
    if not isinstance(content, dict) or not content:
        raise InputError("holds no settings; give lines of name: value, as the config.yaml of a run has them")
    named: dict[str, Any] = {}
    for name, value in content.items():
        _put(named, str(name), value)
    return named


@contextlib.contextmanager
def of_file(path: Path, option: str = OPTION) -> Iterator[None]:
    """Around what reads settings of a file, or does what they say: each line of an error begins with the file, and an
    option that comes first has its name there.

    Raises:
        InputError: what is raised within.
    """
    try:
        yield
    except InputError as error:
        lines = (re.sub(r"^--[\w.-]+", _as_field, line) for line in str(error).splitlines())
        raise InputError("\n".join(f"{option} {path}: {line}".lstrip() for line in lines)) from None


def _as_field(option: re.Match[str]) -> str:
    return option[0].removeprefix("--").replace("-", "_")


def with_settings(default: Config, content: Mapping[str, Any]) -> Config:
    """A dataclass with other values where ``content`` has them, section by section.

    Raises:
        InputError: as :func:`shards.base.dataclass_io.from_mapping`.
    """
    kind = type(default)
    changed = _adapted(get_type_hints(kind, include_extras=True), content)
    return from_mapping(kind, _merged(to_mapping(default), changed))


def defaults_with_settings(command: Callable[..., Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of a command's parameters as ``content`` has them; of a section that is given in part, with
    ``tyro.MISSING`` for what must still be given.

    Raises:
        InputError: as :func:`shards.base.dataclass_io.from_mapping`.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    wanted = {name: (hints[name], parameters[name].default) for name in parameters}
    leaves = dict(_leaves(wanted))
    kind = dataclasses.make_dataclass("Options", [(name, hint, None) for name, (hint, _) in leaves.items()])
    changed = _adapted({name: hint for name, (hint, _) in leaves.items()}, content)
    for name in changed.keys() & leaves.keys():
        if isinstance(changed[name], dict):
            changed[name] = _merged(_as_mapping(*leaves[name]), changed[name])
    checked: Any = from_mapping(kind, changed)
    return _filled(wanted, {name: getattr(checked, name) for name in changed})


def is_flat(hint: Any) -> bool:
    """Whether the options of a section are named without the section."""
    marks = getattr(hint, "__metadata__", ())
    return tyro.conf.OmitArgPrefixes in marks or any(getattr(mark, "name", None) == "" for mark in marks)


_Wanted = Mapping[str, tuple[Any, Any]]
"""Types and defaults by the names of parameters or fields."""


def _leaves(wanted: _Wanted) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What a file can name: parameters, and fields of sections whose names are left out."""
    for name, (hint, default) in wanted.items():
        if is_flat(hint):
            yield from _leaves(_fields(hint, default))
        else:
            yield name, (hint, default)


def _fields(hint: Any, default: Any) -> _Wanted:
    """Of a section."""
    (kind,) = _kinds(hint)
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: (hints[each.name], _default(each, default)) for each in dataclasses.fields(kind)}


def _default(field: "dataclasses.Field[Any]", section: Any) -> Any:
    if section is not _EMPTY:
        return getattr(section, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    return _EMPTY if field.default_factory is dataclasses.MISSING else field.default_factory()


def _as_mapping(hint: Any, default: Any) -> dict[str, Any]:
    """The values of a section by default; none of what is no section."""
    kinds: list[Any] = [kind for kind in _kinds(hint) if dataclasses.is_dataclass(kind)]
    if default is _EMPTY and kinds:
        default = kinds[0]()
    return to_mapping(default) if dataclasses.is_dataclass(default) else {}


def _filled(wanted: _Wanted, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those that are given, sections whole."""
    filled: dict[str, Any] = {}
    for name, (hint, default) in wanted.items():
        if not is_flat(hint):
            filled |= {name: given[name]} if name in given else {}
            continue
        fields = _fields(hint, default)
        values = _filled(fields, given)
        if values:
            (kind,) = _kinds(hint)
            usual = {each: tyro.MISSING if value is _EMPTY else value for each, (_, value) in fields.items()}
            filled[name] = kind(**{**usual, **values})
    return filled


def _adapted(hints: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`shards.base.dataclass_io.from_mapping` takes it: underscores for the dashes of options, the names of
    fields for those of options, and a list of one where one value stands for it, as on the command line."""
    fields = {_name_of_option(hint): name for name, hint in hints.items()}
    adapted: dict[str, Any] = {}
    for name, value in _taken_out(content, [option for option in fields if option and "." in option]).items():
        plain = str(name).replace("-", "_")
        is_section = plain in hints and isinstance(value, dict)
        field = plain if is_section else fields.get(plain, plain)
        _put(adapted, field, _adapted_value(hints.get(field), value))
    return adapted


def _taken_out(content: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """With each of the options whose names have a section, such as ``features.layers``, by that name and not below the
    section's."""
    taken = dict(content)
    for option in options:
        section, _, name = option.partition(".")
        within = taken.get(section)
        if isinstance(within, dict) and name in within:
            rest = {each: value for each, value in within.items() if each != name}
            taken = {each: value for each, value in taken.items() if each != section}
            taken |= {option: within[name]} | ({section: rest} if rest else {})
    return taken


def _adapted_value(hint: Any, value: Any) -> Any:
    kinds = [kind for kind in _kinds(hint) if kind is not NoneType]
    for kind in kinds:
        if isinstance(value, dict) and dataclasses.is_dataclass(kind):
            return _adapted(get_type_hints(kind, include_extras=True), value)
    takes_list = bool(kinds) and all(get_origin(kind) is tuple and Ellipsis in get_args(kind) for kind in kinds)
    return [value] if takes_list and not isinstance(value, list | dict | None) else value


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    name = name.replace("-", "_")
    if name in values:
        raise InputError(f"{name}: is there twice; leave one")
    values[name] = value


def _name_of_option(hint: Any) -> Any:
    names = [getattr(mark, "name", None) for mark in getattr(hint, "__metadata__", ())]
    return next(filter(None, names), None)


def _kinds(hint: Any) -> Iterator[Any]:
    """The types that a value may have, without what annotates them."""
    match get_origin(hint):
        case origin if origin is Annotated:
            yield from _kinds(hint.__origin__)
        case origin if origin in (Union, UnionType):
            for part in get_args(hint):
                yield from _kinds(part)
        case _:
            yield hint


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged
