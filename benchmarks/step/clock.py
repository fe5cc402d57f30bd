"""Where the time of the trainer's steps goes: what is measured is its own code."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch

from benchmarks.measuring.trace import named_range
from shards.index import ShardIndex
from train.ranks.world import World
from train.settings.config import PretrainConfig
from train.trainer import Trainer, start_trainer

PARTS = ("data wait", "momentum update", "forward", "key forward", "loss and queue", "backward", "optimiser")


class Clock:
    """Takes the seconds of each part without the parts inside it where it ``is_on``, synchronising at both ends, and
    names the parts in a profile where it ``names_ranges``. Without either, steps run as in training."""

    def __init__(self, device: torch.device, parts: Sequence[str] = PARTS) -> None:
        self.device, self.is_on, self.names_ranges = device, False, False
        self.seconds = dict.fromkeys(parts, 0.0)
        self._open: list[str] = []
        self._ranges: list[AbstractContextManager[None]] = []
        self._since = 0.0

    def start(self, part: str) -> None:
        self._charge()
        self._open.append(part)
        if self.names_ranges:
            self._ranges.append(named_range(part, self.device))
            self._ranges[-1].__enter__()

    def stop(self) -> None:
        if self.names_ranges:
            self._ranges.pop().__exit__(None, None, None)
        self._charge()
        self._open.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.start(name)
        yield
        self.stop()

    def _charge(self) -> None:
        if not self.is_on:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def start_clocked(config: PretrainConfig, index: ShardIndex, world: World, *, clock: Clock) -> Trainer:
    """A trainer of MoCo whose parts are on the clock, forwards by themselves."""
    trainer = start_trainer(config, index, world, batches_per_epoch=1, timed=clock.part)
    for network, part in ((trainer.method.model, "forward"), (trainer.method.target, "key forward")):
        assert network is not None
        network.register_forward_pre_hook(lambda *_, part=part: clock.start(part))
        network.register_forward_hook(lambda *_: clock.stop())
    return trainer
