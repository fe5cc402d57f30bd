"""The subcommands of a command line: functions whose arguments are checked within the bounds of their types."""

import contextlib
import dataclasses
import functools
import inspect
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

import tyro

from shards.base.arguments import check_arguments
from shards.base.dataclass_io import check_fields
from shards.base.errors import InputError
from shards.base.mistakes import mistakes

T = TypeVar("T")
Command = Callable[..., int | None]


def run_subcommand(
    commands: Mapping[str, Command], *, package: str, args: Sequence[str] | None = None, **options: Any
) -> int | None:
    """Reads the command line, and runs the subcommand that it names with arguments that have been checked.

    Args:
        package: whose commands these are; ``moco-cxr`` calls it so, or ``python -m``.
        args: default: the process's.
        options: as of :func:`tyro.extras.subcommand_cli_from_dict`.

    Raises:
        InputError: arguments that are none of its own, one that is given twice; a line for each value that is out of
            range.
    """
    checked = {name: _checked(command) for name, command in commands.items()}
    program = f"moco-cxr {package}" if sys.argv[0] == "moco-cxr" else f"python -m {package}"
    given = check_arguments(sys.argv[1:] if args is None else args)
    command: Callable[[], int | None] = parsed(
        lambda words: tyro.extras.subcommand_cli_from_dict(checked, args=words, prog=program, **options),
        given,
        program=program,
    )
    return command()


def run_single(command: Command, *, program: str, args: Sequence[str] | None = None, **options: Any) -> int | None:
    """As :func:`run_subcommand`, of a command without subcommands; ``options`` as of :func:`tyro.cli`."""
    checked = _checked(command)
    given = check_arguments(sys.argv[1:] if args is None else args)
    run: Callable[[], int | None] = parsed(
        lambda words: tyro.cli(checked, args=words, prog=program, **options), given, program=program
    )
    return run()


def parsed(parse: Callable[[Sequence[str]], T], given: Sequence[str], *, program: str) -> T:
    """What a parser, tyro in some way, makes of arguments, beside its own words on standard error.

    Raises:
        InputError: arguments that it refuses, as lines where it would show a frame.
    """
    said = _Held()
    try:
        with contextlib.redirect_stderr(said):
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
        raise


class _Held(io.StringIO):
    """What is said, until it is known whether it is shown."""

    def isatty(self) -> bool:
        return sys.__stderr__ is not None and sys.__stderr__.isatty()


def _checked(command: Command) -> Callable[..., Callable[[], int | None]]:
    """Takes a command's arguments, and returns what checks them and runs it."""

    @functools.wraps(command)
    def bound(*args: Any, **kwargs: Any) -> Callable[[], int | None]:
        return lambda: run(*args, **kwargs)

    def run(*args: Any, **kwargs: Any) -> int | None:
        given = inspect.signature(command).bind(*args, **kwargs).arguments
        hints = get_type_hints(command, include_extras=True)
        sections = [name for name, value in given.items() if dataclasses.is_dataclass(value)]
        plain = {name: value for name, value in given.items() if name not in sections}
        rest = dataclasses.make_dataclass("Rest", [(name, hints[name]) for name in plain])
        wrong = []
        for where, fields in [
            *(("--" if _is_flat(hints[name]) else f"--{name}", given[name]) for name in sections),
            ("--", rest(**plain)),
        ]:
            try:
                check_fields(fields, where)
            except InputError as error:
                wrong.append(str(error))
        if wrong:
            raise InputError("\n".join(wrong))
        return command(*args, **kwargs)

    return bound


def _is_flat(hint: Any) -> bool:
    """Whether the options of a section are named without the section."""
    marks = getattr(hint, "__metadata__", ())
    return tyro.conf.OmitArgPrefixes in marks or any(getattr(mark, "name", None) == "" for mark in marks)
