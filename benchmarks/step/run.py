"""The pretraining step: the trainer's beside a plain formulation of the same MoCo, and where the time of a step goes.

    python -m benchmarks step --quick
    python -m benchmarks step --device cuda --size 320 --batch 256 --compile
    python -m benchmarks step --quick --profile step.json     # three steps, for chrome://tracing or ui.perfetto.dev

The plain formulation (:mod:`benchmarks.step.plain`) computes what the trainer does: on equal weights and views both
give the same loss, which is checked before anything is timed. Variants take turns on the same synthetic views; one more
takes its views from the loader, and says how long it waited. Shares are of steps synchronised at the ends of each part.

Expect on a CPU with bf16: the trainer in fp32 near the plain step, as the network takes nearly all of both, and bf16
well below. On a GPU momentum loop, logits and the position of the queue weigh more: unmeasured.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.measuring.data import build_phantom_dataset
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.measuring.trace import named_range, profiled
from benchmarks.settings import StepConfig
from benchmarks.step.plain import PlainStep
from pipeline.loader import build_loader
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.optimizers import build_optimizer
from train.engine.precision import resolve_precision
from train.methods.contract import TrainingData
from train.methods.moco import MoCo
from train.ranks.world import World, start_processes
from train.settings.config import EncoderConfig, MethodConfig, NormConfig, PretrainConfig, RunConfig
from train.settings.recipes import recipe

PARTS = ("data wait", "momentum update", "forward", "key forward", "loss and queue", "backward", "optimiser")
_PROFILED_STEPS = 3


def run(config: StepConfig) -> list[Comparison]:
    """Checks and measures.

    Raises:
        InputError: the dataset has fewer images than a batch.
    """
    if config.quick:
        config = replace(config, size=64, batch=16, queue=1024, turns=3)
    world = World(rank=0, size=1, local_rank=0, device=torch.device(config.device))
    start_processes(world)
    with tempfile.TemporaryDirectory() as folder:
        data = config.data or build_phantom_dataset(Path(folder), num_images=4 * config.batch, size=config.size)
        index = ShardIndex.open(data)
        if len(index) < config.batch:
            raise InputError(f"--batch {config.batch}: {data} has only {len(index)} images; lower it")
        comparison = _compare(config, index, world)
    torch.distributed.destroy_process_group()
    return [comparison]


class TrainerStep:
    """One step as the training loop takes it, with the DeepSpeed engine. Legend: B batch, H W pixels."""

    def __init__(
        self,
        config: PretrainConfig,
        index: ShardIndex,
        world: World,
        *,
        clock: "Clock | None" = None,
        compiles: bool = False,
    ) -> None:
        self.clock = clock or Clock(world.device)
        self.method = MoCo(config, world, TrainingData(index))
        if compiles:
            for module in (self.method.model, self.method.target):
                module.get_submodule("encoder").compile()
        precision = resolve_precision(config.run.precision, world.device)
        ds_config = deepspeed_config(config.run, precision=precision, optimizer=config.optimizer.name)
        optimizer = build_optimizer(config.optimizer, self.method.model.parameters())
        self.engine = start_engine(self.method.model, optimizer, ds_config, world)
        # Hooks, so that what is measured is the trainer's own code.
        for module, part in ((self.method.model, "forward"), (self.method.target, "key forward")):
            module.register_forward_pre_hook(lambda *_, part=part: self.clock.start(part))
            module.register_forward_hook(lambda *_: self.clock.stop())
        self._num_batches = 0

    def __call__(self, views: tuple[Tensor, ...], rows: Tensor) -> Tensor:
        """The loss of two views (B, 1, H, W) of ``rows`` (B,), before the weights move."""
        clock = self.clock
        with clock.part("momentum update"):
            self.method.before_step(0.5)
        with clock.part("loss and queue"):
            objective = self.method.objective(self.engine, views, rows=rows, batch=self._num_batches)
        with clock.part("backward"):
            self.engine.backward(objective.loss)
        with clock.part("loss and queue"):
            self.method.after_backward()
        with clock.part("optimiser"):
            self.engine.step()
        self._num_batches += 1
        loss: Tensor = objective.loss.detach()
        return loss


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


def _compare(config: StepConfig, index: ShardIndex, world: World) -> Comparison:
    device = world.device
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.randn(2, config.batch, 1, config.size, config.size, generator=generator).to(device))
    rows = torch.from_numpy(index.rows.copy())[: config.batch]
    _check_same_loss(config, index, world, views, rows)

    plain = PlainStep(config.encoder, queue=config.queue, device=device)
    colour = tuple(view.expand(-1, 3, -1, -1).contiguous() for view in views)
    variants: dict[str, Callable[[], object]] = {"plain: 3 channels, fp32": lambda: plain(colour)}
    in_fp32 = TrainerStep(_settings(config, "fp32"), index, world)
    variants["trainer, fp32"] = lambda: in_fp32(views, rows)
    mixed = TrainerStep(_settings(config, "bf16"), index, world)
    variants["trainer, bf16"] = lambda: mixed(views, rows)
    if config.compile:
        compiled = TrainerStep(_settings(config, "bf16"), index, world, compiles=True)
        variants["trainer, bf16, compiled"] = lambda: compiled(views, rows)
    spec = replace(recipe("moco_cxr_resnet18").views, size=config.size)
    with build_loader(index, spec, batch_size=config.batch, device=device) as loader:
        batches = itertools.chain.from_iterable(itertools.repeat(loader))

        def fed() -> None:
            with mixed.clock.part("data wait"):
                batch = next(batches)
            mixed(batch.views, batch.rows)

        variants["trainer, bf16, with loader"] = fed
        timings = time_variants(variants, turns=config.turns, device=device)
        waited, began = loader.wait_seconds, time.perf_counter()
        for _ in range(config.turns):
            fed()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        waits = (loader.wait_seconds - waited) / (time.perf_counter() - began)
        mixed.clock.is_on = True
        for _ in range(config.turns):
            fed()
        if config.profile is not None:
            mixed.clock.is_on, mixed.clock.names_ranges = False, True
            with profiled(config.profile):
                for number in range(_PROFILED_STEPS):
                    with named_range(f"step {number}", device):
                        fed()
    shares = _shares(mixed.clock.seconds)
    return Comparison(
        title=f"pretraining step, {config.encoder}, {config.size} px, {config.device}",
        work=f"MoCo v2, batch {config.batch}, queue {config.queue:,}, two views an image",
        rate=float(config.batch),
        unit="images",
        timings=timings,
        remarks=(
            f"trainer, bf16, with loader: {shares}, each part synchronised",
            f"the same, not synchronised: waits for data {waits:.1%} of the time",
            "plain: ready-made views, one group of batch norm, which leaks, and no DeepSpeed",
        ),
    )


def _settings(config: StepConfig, precision: Literal["fp32", "bf16"], **norm: Any) -> PretrainConfig:
    return PretrainConfig(
        encoder=EncoderConfig(name=config.encoder),
        method=MethodConfig(queue_size=config.queue),
        norm=NormConfig(**norm),
        run=RunConfig(batch_size=config.batch, precision=precision),
    )


def _check_same_loss(
    config: StepConfig, index: ShardIndex, world: World, views: tuple[Tensor, ...], rows: Tensor
) -> None:
    """With equal weights, queue and norm, in fp32, both formulations give the same losses for two steps."""
    trainer = TrainerStep(_settings(config, "fp32", strategy="plain"), index, world)
    plain = PlainStep(config.encoder, queue=config.queue, device=world.device)
    plain.take(trainer.method)
    for _ in range(2):
        ours = trainer(views, rows)
        theirs = plain(tuple(view.expand(-1, 3, -1, -1).contiguous() for view in views))
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)


def _shares(seconds: dict[str, float]) -> str:
    total = sum(seconds.values())
    return ", ".join(f"{part} {taken / total:.1%}" for part, taken in seconds.items())
