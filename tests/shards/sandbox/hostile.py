"""What may become of a process that decodes: functions that really die, hang and eat memory, by what they are given."""

import os
import signal
import time
from collections.abc import Callable

ENDS: dict[str, Callable[[], object]] = {
    "aborts": os.abort,
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "leaves": lambda: os._exit(3),
    "computes": lambda: [None for _ in iter(int, 1)],
    "sleeps": lambda: time.sleep(600),
    "eats": lambda: bytearray(64 << 30),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


class Panic(BaseException):
    """As compiled Rust raises where it panics: no Exception."""


def panic() -> None:
    raise Panic


ENDS["panics"] = panic


def double(item: str) -> str:
    ENDS.get(item, lambda: None)()
    if item == "raises":
        raise ValueError("no double of this")
    return item * 2


def process_number(_: object) -> int:
    return os.getpid()


def fails_after_much_else(item: int, done: list[int] = []) -> int:  # noqa: B006
    """Dies as the fourth thing that a process does, whatever it is given: heap that something else has broken."""
    done.append(item)
    if len(done) == 4:
        os.abort()
    return item
