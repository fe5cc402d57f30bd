"""Errors a user can mend, and the one way in which the command lines show them."""

import contextlib
import errno
import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from shards.base.disk import AGAIN, refusal
from shards.base.openmp import spin_briefly

MANIFEST = "dataset.json"  # which makes a folder a dataset
GOES_ON = "goes on with the dataset that is there"
DatasetOutput = Annotated[Path, GOES_ON]
_INTERRUPTED = threading.Event()


class InputError(ValueError):
    """A setting or input that the user can mend: its message names the field, the value and the remedy.

    ``bare`` is the message without anything that was read in the user's files, such as names in a list; None where
    nobody has said what that would be.
    """

    def __init__(self, message: str, *, bare: str | None = None) -> None:
        super().__init__(message)
        self.bare = bare


class OptionError(InputError):
    """An option that is wrong by itself: the message quotes the command, and nothing that was read in files."""

    def __init__(self, message: str) -> None:
        super().__init__(message, bare=message)


@contextlib.contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Around what imports packages that an extra of the installation brings; ``what`` needs them.

    Raises:
        InputError: one of them is not installed, with the command that installs the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = f"pip install 'moco-cxr[{extra}]'"
        raise InputError(f"{what}: needs {error.name}, which is not installed; {remedy}") from None


@contextlib.contextmanager
def writing(output: Path, *, then: str = "") -> Iterator[None]:
    """Around what writes the file or folder that ``--output`` names; ``then``: what repeating the command does.

    Raises:
        InputError: it cannot be written, or another file that is needed meanwhile.
    """
    try:
        yield
    except OSError as error:
        said = refusal(error, instead=output)
        if said is None:
            raise
        where, remedy = Path(said.where), said.remedy
        if then and remedy.endswith(AGAIN):
            remedy += f"; {then}"
        if where.is_relative_to(output):
            what = "" if where == output else f"{where.relative_to(output)} "
        elif output.is_relative_to(where):
            what = f"{where} "
        else:
            message = f"{where}: {said.why}; {remedy}"
            raise InputError(message, bare=f"a file that is read: {said.why}; {remedy}") from error
        raise OptionError(f"--output {output}: {what}cannot be written ({said.why}); {remedy}") from error


def check_writable(output: Path, *, may_be_dataset: bool = False) -> None:
    """Refuses an output that could not be made or should not, before anything is computed for it. A folder with
    something in it is left to whoever goes on with that.

    Raises:
        InputError: a part of its path is a file, the folder that it is to be in is closed to writing, or as
            :func:`check_outside_datasets`.
    """
    check_outside_datasets(output, may_be_dataset=may_be_dataset)
    if output.is_dir() and any(output.iterdir()):
        return
    place = output if output.is_dir() else next(each for each in output.parents if os.path.lexists(each))
    number = 0
    if not place.is_dir():
        number = errno.ENOTDIR
    elif not os.access(place, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
    with writing(output):
        if number:
            raise OSError(number, os.strerror(number), str(place))


def check_outside_datasets(output: Path, *, may_be_dataset: bool = False) -> None:
    """Refuses an output inside a packed dataset, or in place of one unless it ``may_be_dataset``.

    Raises:
        InputError: naming the dataset.
    """
    for path in (output.absolute(), output.resolve()):
        for place in path.parents if may_be_dataset else (path, *path.parents):
            if os.path.isfile(place / MANIFEST):
                what = "is a packed dataset" if place == path else f"lies in the packed dataset {place}"
                raise OptionError(f"--output {output}: {what}; give a folder outside it")


@contextlib.contextmanager
def continuing() -> Iterator[None]:
    """Around what goes on where it was when its command is repeated, which is told of an interrupt."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{AGAIN} to go on") from None


def run_command(main: Callable[[], int | None]) -> None:
    """Runs a command line and exits with its status.

    Exit codes: what ``main`` returns (0 for ``None``), 2 for an :class:`InputError`, whose message is printed
    without a traceback, a line for each mistake, and for a disk that refuses a file, 130 for an interrupt, 0 where the
    reader of the output has gone. Any other exception is a bug and keeps its traceback. A warning is one line, once.
    """
    spin_briefly()
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know ASCII only
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interrupts_noted(), _warnings_told():
            _check_surroundings()
            status = main() or 0
            sys.stdout.flush()  # to a full disk, say
    except InputError as error:
        _tell(f"error: {error}")
        status = 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt as error:
        _tell("; ".join(["interrupted", *map(str, error.args)]))
        status = 130
    except Exception as error:
        said = refusal(error) if isinstance(error, OSError | RuntimeError) else None
        if said is None and not _INTERRUPTED.is_set():
            raise
        _tell("interrupted" if said is None else f"error: {said}")
        status = 130 if said is None else 2
    sys.exit(status)


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Warnings without the line of code that gave them."""
    told: set[str] = set()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        line = f"warning: {message}"
        if line not in told:
            told.add(line)
            _tell(line)

    before, warnings.showwarning = warnings.showwarning, tell
    try:
        yield
    finally:
        warnings.showwarning = before


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[None]:
    """Modules in C that are being imported make errors of their own of an interrupt: it is remembered."""
    _INTERRUPTED.clear()

    def note(number: int, frame: object) -> None:
        _INTERRUPTED.set()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    is_ours = threading.current_thread() is threading.main_thread() and before in (
        signal.SIG_DFL,
        signal.default_int_handler,
    )
    if is_ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        if is_ours and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk takes no words, but the status still tells
        print(line, file=sys.stderr, flush=True)


def _open_what_is_closed() -> None:
    """Standard streams that were closed (``>&-``) lead nowhere; else the next file to be opened would be one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) == number:  # the lowest that is free
                os.set_inheritable(number, True)  # by processes that this one starts
                setattr(sys, name, open(number, "r+" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _check_surroundings() -> None:
    """Names that are no UTF-8 can be neither printed nor written into what a command leaves; and what OpenMP does not
    understand, it and the libraries beside it take each in its own way."""
    for argument in sys.argv:
        if any("\ud800" <= sign <= "\udfff" for sign in argument):
            raise InputError(f"{argument!a}: holds bytes that are no UTF-8; rename the file or folder")
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    if not re.fullmatch(r" *0*[1-9][0-9]{0,3} *(, *0*[1-9][0-9]{0,3} *)*", threads):
        raise InputError(f"OMP_NUM_THREADS {threads!r}: is no number of threads; give 1 to 9999, or unset it")
