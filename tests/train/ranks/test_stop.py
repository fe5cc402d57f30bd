import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch

from train.ranks.stop import Stop
from train.ranks.world import World

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
SCRIPT = """
import os, signal, sys, time, torch
from train.ranks.stop import Stop
from train.ranks.world import World
stop = Stop(World(rank=0, size=1, local_rank=0, device=torch.device("cpu")))
print("ready", flush=True)
while not stop.agreed(): time.sleep(.01)
print("agreed", flush=True)
time.sleep(60)
"""


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop(WORLD)
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_at_the_next_step(stop: Stop, number: int) -> None:
    assert not stop.agreed()
    os.kill(os.getpid(), number)
    deadline = time.monotonic() + 10
    while not stop.agreed():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert stop.agreed(), "it stays so"
    assert stop.goes_on_later == (number == signal.SIGUSR1)


def test_other_signals_that_have_a_handler_ask_for_nothing(stop: Stop) -> None:
    came: list[int] = []
    # as SIGCHLD where children end, more than a second apart; that one also comes of other tests' children
    before = signal.signal(signal.SIGUSR2, lambda number, _: came.append(number))
    try:
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR2)
            time.sleep(1.1)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert len(came) == 2
    assert not stop.agreed()


def test_signals_have_their_former_meaning_afterwards() -> None:
    came: list[int] = []
    before = [signal.signal(number, lambda got, _: came.append(got)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        Stop(WORLD).close()
        signal.raise_signal(signal.SIGINT)  # to this thread, so that it is handled before the next line
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert came == [signal.SIGINT, signal.SIGTERM]


def test_the_same_signal_later_ends_at_once() -> None:
    """A launcher may pass a request on twice within a moment; that is no second request."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "agreed\n"
    time.sleep(1.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 128 + signal.SIGTERM
