"""One rank of the scaling benchmark, in a process of its own: does what its parent says, line by line.

Standard output carries one line of JSON for each line of standard input; what libraries print goes to standard error.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.measuring.data import PatientRows
from benchmarks.step.clock import PARTS, Clock, start_clocked
from train.ranks.world import World, describe_world, start_processes
from train.run.guards import compare_ranks
from train.settings.config import EncoderConfig, MethodConfig, PretrainConfig, RunConfig, ScheduleConfig

WAIT = "rank wait"
EXCHANGES = ("shuffle", "key gather", "gradient exchange")


class ExchangeClock(Clock):
    """A clock with the exchanges as parts; what the ranks wait for one another ahead of each is a part as well."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device, (*PARTS, WAIT, *EXCHANGES))

    @contextmanager
    def exchange(self, name: str) -> Iterator[None]:
        """Ranks meet first where the clock is on, so that the exchange is charged with nothing but itself."""
        if self.is_on and dist.get_world_size() > 1:
            with self.part(WAIT):
                dist.barrier()
        with self.part(name):
            yield


@dataclass(frozen=True, kw_only=True)
class ClockedWorld(World):
    """The trainer's world, whose gathers are parts of a clock."""

    clock: ExchangeClock

    def gather(self, tensor: Tensor) -> Tensor:
        """As ever; of four dimensions are images, and of fewer keys and their patients."""
        if self.size == 1:
            return tensor
        with self.clock.exchange("shuffle" if tensor.dim() == 4 else "key gather"):
            return super().gather(tensor)


class Rank:
    """This rank's trainer and what it can be told to do."""

    def __init__(self, setting: dict[str, Any]) -> None:
        here = describe_world()
        start_processes(here)
        torch.set_num_threads(setting["threads"])
        torch.backends.cudnn.benchmark = True
        self.clock = ExchangeClock(here.device)
        self.world = ClockedWorld(
            rank=here.rank, size=here.size, local_rank=here.local_rank, device=here.device, clock=self.clock
        )
        config = PretrainConfig(
            encoder=EncoderConfig(name=setting["encoder"]),
            method=MethodConfig(queue_size=setting["queue"]),
            schedule=ScheduleConfig(name="constant"),
            run=RunConfig(batch_size=setting["batch"]),
        )
        batch, size = setting["batch"], setting["size"]
        index: Any = PatientRows(batch)
        self.trainer = start_clocked(config, index, self.world, clock=self.clock)
        reduce = self.trainer.engine.allreduce_gradients

        def clocked_reduce(*args: Any, **options: Any) -> None:
            with self.clock.exchange("gradient exchange"):
                reduce(*args, **options)

        self.trainer.engine.allreduce_gradients = clocked_reduce
        generator = torch.Generator().manual_seed(here.rank)
        self.views = tuple(torch.randn(2, batch, 1, size, size, generator=generator).to(here.device))
        self.rows = torch.arange(batch)

    def steps(self, number: int) -> None:
        """So many steps, the device's work included."""
        for _ in range(number):
            loss = self.trainer.step(self.views, self.rows).loss.detach()
        self._synchronise()
        assert torch.isfinite(loss), f"the loss is {loss}"

    def check(self, number: int) -> None:
        """So many steps, after which the ranks must hold equal weights, key encoders and queues."""
        self.steps(number)
        compare_ranks(self.trainer.method, self.world, step=number)

    def clocked(self, number: int) -> dict[str, float]:
        """Seconds of a step by part, over so many of them, each part synchronised."""
        self.clock.seconds = dict.fromkeys(self.clock.seconds, 0.0)
        self.clock.is_on = True
        self.steps(number)
        self.clock.is_on = False
        return {part: seconds / number for part, seconds in self.clock.seconds.items()}

    def exchanges(self, number: int) -> dict[str, float]:
        """Seconds of the exchanges by themselves, median over so many; the ranks meet before each."""
        device = self.world.device
        gradients = torch.zeros(sum(p.numel() for p in self.trainer.method.model.parameters()), device=device)
        tiny = torch.zeros(2, device=device)
        unclocked = World(rank=self.world.rank, size=self.world.size, local_rank=self.world.local_rank, device=device)
        return {
            "tiny": self._median(number, lambda: unclocked.gather(tiny)),
            "gather": self._median(number, lambda: unclocked.gather(self.views[0])),
            "reduce": self._median(number, lambda: unclocked.total(gradients)),
            "num_parameters": gradients.numel(),
        }

    def _median(self, number: int, call: Callable[[], object]) -> float:
        taken = []
        for _ in range(number + 1):
            self.world.barrier()
            self._synchronise()
            start = time.perf_counter()
            call()
            self._synchronise()
            taken.append(time.perf_counter() - start)
        return median(taken[1:])  # the first connects the ranks

    def _synchronise(self) -> None:
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)


def main() -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    rank = Rank(json.loads(sys.argv[1]))
    does: dict[str, Callable[[int], Any]] = {
        "steps": rank.steps,
        "check": rank.check,
        "clocked": rank.clocked,
        "exchanges": rank.exchanges,
    }
    for line in sys.stdin:
        what, number = line.split()
        answers.write(json.dumps(does[what](int(number))) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
