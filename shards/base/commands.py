"""The subcommands of a command line: functions whose arguments are checked within the bounds of their types."""

import contextlib
import dataclasses
import functools
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar, get_args, get_type_hints

import tyro

from shards.base.config_file import (
    ConfigFile,
    config_path,
    defaults_with_settings,
    is_flat,
    names_in_file,
    of_file,
    read_settings,
)
from shards.base.dataclass_io import check_fields
from shards.base.errors import GOES_ON, InputError, check_writable
from shards.base.mistakes import mistakes, plain_help
from shards.base.words import Spelling, as_called

T = TypeVar("T")
Command = Callable[..., int | None]
_FILE = "file_of_settings"


def run_subcommand(
    commands: Mapping[str, Command], *, package: str, args: Sequence[str] | None = None, **options: Any
) -> int | None:
    """Reads the command line, and runs the subcommand that it names with arguments that have been checked.

    Args:
        package: whose commands these are.
        args: default: the process's.
        options: as of :func:`tyro.extras.subcommand_cli_from_dict`.

    Raises:
        InputError: arguments that are none of its own, one that is given twice; a line for each value that is out of
            range, or of the file of ``--config`` (:mod:`shards.base.config_file`), which each command takes, for each
            that does not fit.
    """
    given = check_arguments(sys.argv[1:] if args is None else args)
    chosen = given[0] if given else ""
    checked = {name: _checked(command, given if name == chosen else ()) for name, command in commands.items()}
    program = as_called(package)
    command: Callable[[], int | None] = parsed(
        lambda words: tyro.extras.subcommand_cli_from_dict(checked, args=words, prog=program, **options),
        given,
        program=program,
    )
    return command()


def run_single(command: Command, *, program: str, args: Sequence[str] | None = None, **options: Any) -> int | None:
    """As :func:`run_subcommand`, of a command without subcommands; ``options`` as of :func:`tyro.cli`."""
    given = check_arguments(sys.argv[1:] if args is None else args)
    checked = _checked(command, given)
    run: Callable[[], int | None] = parsed(
        lambda words: tyro.cli(checked, args=words, prog=program, **options), given, program=program
    )
    return run()


def check_arguments(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments, of which no option is there twice: the last would count and the others be lost in silence. None is
    empty, as ``--input "$UNSET"`` makes it: it would be taken for the working directory.

    Raises:
        InputError: an option is repeated; an empty argument.
    """
    given: set[str] = set()
    before = ""
    for argument in arguments:
        option, sign, value = argument.partition("=")
        if not argument or (argument.startswith("--") and sign and not value):
            raise InputError(f"{option or before}: the value is empty, by a variable that is not set perhaps; give one")
        before = option
        if not argument.startswith("--"):
            continue
        option = option.replace("_", "-")
        if option in given:
            raise InputError(f"{option}: given twice; give it once, with all its values behind it")
        given.add(option)
    return arguments


def parsed(parse: Callable[[Sequence[str]], T], given: Sequence[str], *, program: str) -> T:
    """What a parser, tyro in some way, makes of arguments, beside its own words on standard error.

    Raises:
        InputError: arguments that it refuses, as lines where it would show a frame.
    """
    printed, said = _Held(sys.__stdout__), _Held(sys.__stderr__)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            return parse(given)
    except SystemExit as ended:
        cause: BaseException | None = ended
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__context__
        if cause is not None:
            raise cause from None
        if ended.code == 2:
            raise mistakes(parse, given, program=program, framed=said.getvalue()) from None
        sys.stderr.write(said.getvalue())
        help = printed.getvalue()
        sys.stdout.write(plain_help(help) if "usage:" in help[:20] else help)
        raise


class _Held(io.StringIO):
    """What is said, until it is known whether it is shown on ``stream``."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()


def _checked(command: Command, given: Sequence[str]) -> Callable[..., Callable[[], int | None]]:
    """Takes a command's arguments, with the defaults of a file where ``given`` name one, and returns what checks them
    and runs it."""
    path, defaults, in_files = config_path(given), {}, {}
    if path is not None:
        with of_file(path):
            defaults = defaults_with_settings(command, read_settings(path))
            in_files = names_in_file(path, given)
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters.values()

    def bound(**kwargs: Any) -> Callable[[], int | None]:
        kwargs.pop(_FILE)
        return lambda: run(**kwargs)

    functools.update_wrapper(bound, command)
    del bound.__wrapped__  # type: ignore[attr-defined] # the parser would ask it in place of the following
    by_name = [each.replace(kind=each.KEYWORD_ONLY, default=defaults.get(each.name, each.default)) for each in own]
    file = inspect.Parameter(_FILE, inspect.Parameter.KEYWORD_ONLY, default=None)
    bound.__signature__ = inspect.Signature([*by_name, file])  # type: ignore[attr-defined]
    bound.__annotations__ = hints | {_FILE: ConfigFile}

    def run(**kwargs: Any) -> int | None:
        given = inspect.signature(command).bind(**kwargs).arguments
        sections = [name for name, value in given.items() if dataclasses.is_dataclass(value)]
        plain = {name: value for name, value in given.items() if name not in sections}
        rest = dataclasses.make_dataclass("Rest", [(name, hints[name]) for name in plain])
        wrong = []
        for where, fields in [
            *(("--" if is_flat(hints[name]) else f"--{name}", given[name]) for name in sections),
            ("--", rest(**plain)),
        ]:
            try:
                check_fields(fields, where)
            except InputError as error:
                wrong.append(str(error))
        named = [name for name in sections if not is_flat(hints[name])]
        names = [f"{name}.{each.name}" for name in named for each in dataclasses.fields(given[name])]
        with Spelling(fields=names, in_files=in_files).spoken():
            if wrong:
                raise InputError("\n".join(wrong))
            places = [(plain, hints)]
            places += [
                (vars(section), get_type_hints(type(section), include_extras=True))
                for section in map(given.get, sections)
            ]
            for values, types in places:
                if isinstance(output := values.get("output"), Path):
                    check_writable(output, may_be_dataset=GOES_ON in get_args(types["output"]))
            return command(**kwargs)

    return bound
