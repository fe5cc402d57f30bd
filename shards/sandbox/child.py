"""The other side of :mod:`shards.sandbox.sandbox`: a process that does its work, within limits."""

import contextlib
import mmap
import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import psutil

HALF_BYTES = 4 << 20  # of the memory shared with who asks, for the answers to one group of items
OUT_OF_MEMORY = 77  # exit code
_ANSWER_SECONDS = 0.01  # for which answers are gathered
_IDLE_SECONDS = 60.0
_CLOCK_FACTOR = 10.0
_parent = os.getppid()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one item may take: ``seconds`` of the processor, or ten times as many by the clock (0: any number), and
    ``memory_bytes`` of address space beyond what the process has when the job begins."""

    seconds: float = 60.0
    memory_bytes: int = 4 << 30


def serve(requests_fd: int, results_fd: int, shared_fd: int) -> None:
    """The child's side: takes jobs and answers their items, until nobody asks any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # decoders complain there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks decides when to stop
    for limit in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(limit, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPROF, signal.SIGALRM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, results = os.fdopen(requests_fd, "rb"), os.fdopen(results_fd, "wb")
    shared = mmap.mmap(shared_fd, 2 * HALF_BYTES)
    while True:
        signal.setitimer(signal.ITIMER_REAL, _IDLE_SECONDS)
        try:
            job = pickle.load(requests)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        _work(job, requests, _Answers(results, shared))


def _work(job: bytes, requests: BinaryIO, answers: "_Answers") -> None:
    """Answers to a job and to each of its items, down to the empty group that ends it."""
    function: Callable[[Any], object]
    seconds = 0.0

    def begin(job: bytes) -> None:
        nonlocal function, seconds
        function, limits = pickle.loads(job)
        seconds = limits.seconds
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        least = psutil.Process().memory_info().vms + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (least if most == resource.RLIM_INFINITY else min(least, most), most))

    answers.add(begin, job)
    answers.send()
    while items := pickle.load(requests):
        answers.turn()
        for item in items:
            with timed(seconds):
                answers.add(function, item)
            if answers.are_due():
                answers.send()
        answers.send()


@contextlib.contextmanager
def timed(seconds: float) -> Iterator[None]:
    """Ends the process, a child under :func:`serve`, where a block of code takes more ``seconds`` of the processor or
    ten times as many by the clock (0: any number), or begins when nobody waits for it any more."""
    if os.getppid() != _parent:
        os._exit(1)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * _CLOCK_FACTOR)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Answers:
    """Gathers answers, and sends them through the shared memory, where there is room: in turn its first and its second
    half, as whoever asks has read what is in a half before there is a group to be answered in it again."""

    def __init__(self, pipe: BinaryIO, shared: mmap.mmap) -> None:
        self._pipe, self._shared = pipe, shared
        self._gathered: list[tuple[Exception | None, object]] = []
        self._half, self._position = 0, HALF_BYTES
        self._sent = time.monotonic()

    def turn(self) -> None:
        """Another group."""
        self._half = HALF_BYTES - self._half
        self._position = self._half

    def add(self, function: Callable[[Any], object], item: object) -> None:
        error, result = None, None
        try:
            result = function(item)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as raised:
            raised.add_note(traceback.format_exc())  # which does not travel with it
            error = raised
        self._gathered.append((error, result))

    def are_due(self) -> bool:
        return time.monotonic() - self._sent > _ANSWER_SECONDS

    def send(self) -> None:
        if not self._gathered:
            return
        data = pickle.dumps(self._gathered)
        self._gathered = []
        end = self._position + len(data)
        if end <= self._half + HALF_BYTES:
            self._shared[self._position : end] = data
            pickle.dump((self._position, end), self._pipe)
            self._position = end
        else:
            pickle.dump(data, self._pipe)
        self._pipe.flush()
        self._sent = time.monotonic()
