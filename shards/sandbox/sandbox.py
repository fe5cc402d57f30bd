"""Work on files from outside, in a process that may die of it.

Decoders in C abort on some damaged files, go round for ever on others, or take all memory. A :class:`Sandbox` calls a
function in a process of its own, under limits that the kernel keeps whatever the code there does. Where the process
ends, its items are tried once more, one by one, and one is lost only if a new process ends with it as its first: each
is judged by itself, and again alike. This is no wall against code that attacks on purpose.

Processes are kept for the next sandbox, as starting one takes some tenths of a second.
"""

import atexit
import contextlib
import itertools
import mmap
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from shards.base.errors import OptionError
from shards.sandbox.child import HALF_BYTES, OUT_OF_MEMORY, Limits

__all__ = ["Killed", "Limits", "Lost", "Sandbox"]

_GROUP = 8  # items that are sent at a time
_GROUP_BYTES = 2048  # that surely fit into the pipe while the other side may wait for its answers to be read
_START = "import sys; sys.path[:] = {path!r}; from shards.sandbox.child import serve; serve{descriptors}"
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Lost:
    """An item without a result: its process ``died`` of it (``how``), or it took more ``seconds`` or ``memory`` than it
    may."""

    kind: Literal["died", "seconds", "memory"]
    how: str = ""


class Killed(OptionError):
    """A process was killed from outside (SIGKILL), which nothing that is decoded brings about."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "--workers: a process was killed, most likely by the system because memory ran out; repeat the command "
            "with fewer --workers: it goes on where it was"
        )


class Sandbox(Generic[_T, _R]):
    """Calls ``function``, which can be pickled, in a process of its own. A context manager."""

    def __init__(self, function: Callable[[_T], _R], limits: Limits | None = None) -> None:
        self._job = pickle.dumps(pickle.dumps((function, limits or Limits())))
        self._process: _Process | None = None
        self._waiting: deque[_T] = deque()

    def map(self, items: Iterable[_T]) -> Iterator[_R | Lost]:
        """The results of the items in their order, worked out ahead of their use. What ``function`` raises is raised
        here, but MemoryError, which is a loss.

        Raises:
            Killed: a process was killed from outside, at the first items that it had.
        """
        source = iter(items)
        while group := list(itertools.islice(source, _GROUP)):
            data = pickle.dumps(group)
            while len(self._waiting) > (0 if len(data) > _GROUP_BYTES else _GROUP):
                yield from self._some()
            self._begun().send(data)
            self._waiting += group
        while self._waiting:
            yield from self._some()

    def _some(self) -> Iterator[_R | Lost]:
        """Results of items that have waited longest: those that come together, or one by one where the process ended
        within a group."""
        process = self._begun()
        try:
            answers = process.receive()
        except EOFError:
            process.loss()
            self._process = None
            yield from self._one_by_one()
            return
        for error, result in answers:
            self._waiting.popleft()
            if error is not None:
                raise error
            yield result

    def _one_by_one(self) -> Iterator[_R | Lost]:
        """Results of all items that wait."""
        while self._waiting:
            process = self._begun()
            is_its_first = not process.is_used
            process.send(pickle.dumps([self._waiting[0]]))
            try:
                [(error, result)] = process.receive()
            except EOFError:
                self._process, loss = None, process.loss()
                if not process.has_begun:  # it was idle, and ended by its own clock or somebody's hand
                    continue
                if not is_its_first and loss.kind != "seconds":  # which were counted for this item alone
                    continue
                error, result = None, loss
            self._waiting.popleft()
            if error is not None:
                raise error
            yield result

    def _begun(self) -> "_Process":
        if self._process is None:
            self._process = _Process.with_job(self._job)
        return self._process

    def __enter__(self) -> Self:
        self._begun()  # starts while others do
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and kind is None and not self._waiting and self._process.has_begun:
            self._process.put_back()
        elif self._process is not None:
            self._process.end()  # it may be at something that nobody waits for any more


class _Process:
    """A child that is given a job, then items of it, and answers each with an error or a result."""

    def __init__(self) -> None:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        shared = os.memfd_create("answers")
        os.ftruncate(shared, 2 * HALF_BYTES)
        theirs = (theirs_in, theirs_out, shared)
        command = [sys.executable, "-c", _START.format(path=sys.path, descriptors=theirs)]
        nothing = subprocess.DEVNULL
        self._child = subprocess.Popen(command, stdin=nothing, stdout=nothing, pass_fds=theirs)
        self._shared = mmap.mmap(shared, 2 * HALF_BYTES)
        for descriptor in theirs:
            os.close(descriptor)
        self._requests, self._results = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self.has_begun = False
        self.is_used = False

    @classmethod
    def with_job(cls, job: bytes, *, is_new: bool = False) -> "_Process":
        """A process that is given a job: one of those that are idle, unless it is to be new."""
        process = _idle.pop() if _idle and not is_new else cls()
        process.send(job)
        process.has_begun = False
        return process

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # that it has ended shows where its answer is missing
            self._requests.write(data)
            self._requests.flush()

    def receive(self) -> list[tuple[Exception | None, Any]]:
        """The next answers. Raises EOFError: the process has ended."""
        if not self.has_begun:
            self._begin()
        answers = self._answers()
        self.is_used = True
        return answers

    def _begin(self) -> None:
        try:
            [(error, _)] = self._answers()
        except EOFError:
            if self.is_used:  # and was idle for long
                raise
            raise RuntimeError(f"a process of its own could not start: {self.loss().how}") from None
        if error is not None:
            raise error
        self.has_begun = True

    def _answers(self) -> list[tuple[Exception | None, Any]]:
        try:
            place = pickle.load(self._results)
        except pickle.UnpicklingError as broken:  # it has ended within its answer
            raise EOFError from broken
        if isinstance(place, bytes):
            return pickle.loads(place)
        with memoryview(self._shared)[slice(*place)] as data:
            return pickle.loads(data)

    def loss(self) -> Lost:
        """Why it has ended. Raises Killed."""
        self._close()
        code = self._child.wait()
        if code == -signal.SIGKILL and not self.is_used:
            raise Killed
        if code in (-signal.SIGPROF, -signal.SIGALRM):
            return Lost("seconds")
        if code == OUT_OF_MEMORY:
            return Lost("memory")
        return Lost("died", signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def put_back(self) -> None:
        """Ends its job, and keeps it for another one."""
        self.send(pickle.dumps(()))
        self.is_used = True
        _idle.append(self)

    def end(self) -> None:
        """Ends it, whatever it is at."""
        self._child.kill()
        self._child.wait()
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # of what was still to be sent
            self._requests.close()
        self._results.close()
        self._shared.close()


_idle: list[_Process] = []
os.register_at_fork(after_in_child=_idle.clear)  # those are the parent's


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()
