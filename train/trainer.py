"""One training step: method, optimiser and engine as one object. Legend: B batch, H W pixels."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shards.index import ShardIndex
from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.memory import keep_freed_memory
from train.engine.optimizers import build_optimizer
from train.engine.precision import resolve_precision, set_tf32
from train.methods.build import build_method
from train.methods.contract import Method, Objective, TrainingData
from train.ranks.world import World
from train.settings.config import PretrainConfig
from train.settings.schedule import images_per_step, learning_rate, top_rate

Timed = Callable[[str], AbstractContextManager[Any]]
"""The context that a part of a step runs in, by the part's name."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: optimiser steps taken, and batches consumed on each rank, were it always as many ranks."""

    step: int = 0
    batch: int = 0


class Trainer:
    """What takes a batch to a step: :meth:`step`, on all ranks together.

    Args:
        method: what is trained; only its ``model`` is the engine's.
        engine: DeepSpeed's, or a :class:`train.engine.torch_engine.TorchEngine`.
        batches_per_epoch: of one rank, for the schedules of learning rate and momentum.
        timed: where to run the parts of a step, for whoever measures them: ``momentum update``, ``loss and queue``
            (which also holds the forwards), ``backward``, ``optimiser``.
    """

    def __init__(
        self,
        config: PretrainConfig,
        method: Method,
        engine: Any,
        *,
        batches_per_epoch: int,
        timed: Timed = nullcontext,
    ) -> None:
        self.config, self.method, self.engine = config, method, engine
        self.batches_per_epoch, self.timed = batches_per_epoch, timed
        self.progress = Progress()
        self.is_between_steps = True
        """Whether the weights have moved since the last batch, so that a checkpoint may be written."""
        self.lr = self.top_rate = top_rate(
            config.optimizer, batch=images_per_step(config.run, world_size=method.world.size)
        )

    def step(self, views: tuple[Tensor, ...], rows: Tensor) -> Objective:
        """Learns from two views (B, 1, H, W) of ``rows`` (B,); the weights move with the last of
        ``run.gradient_accumulation`` batches. Never waits for the device."""
        method, engine, batch = self.method, self.engine, self.progress.batch
        if self.is_between_steps:
            self._set_learning_rate()
            with self.timed("momentum update"):
                method.before_step(batch / (self.config.run.epochs * self.batches_per_epoch))
        with self.timed("loss and queue"):
            objective = method.objective(engine, views, rows=rows, batch=batch)
        with self.timed("backward"):
            engine.backward(objective.loss)
        with self.timed("loss and queue"):
            method.after_backward()
        self.is_between_steps = engine.is_gradient_accumulation_boundary()
        with self.timed("optimiser"):
            engine.step()
        self.progress = Progress(step=self.progress.step + self.is_between_steps, batch=batch + 1)
        return objective

    @property
    def epoch(self) -> float:
        """Epochs that are done."""
        return self.progress.batch / self.batches_per_epoch

    def _set_learning_rate(self) -> None:
        schedule, num_epochs = self.config.schedule, self.config.run.epochs
        self.lr = learning_rate(schedule, lr=self.top_rate, epoch=self.epoch, num_epochs=num_epochs)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.lr


def start_trainer(
    config: PretrainConfig,
    index: ShardIndex,
    world: World,
    *,
    batches_per_epoch: int,
    ds_config: dict[str, Any] | None = None,
    timed: Timed = nullcontext,
) -> Trainer:
    """Builds what ``config`` says, to be trained on the rows of ``index``, under DeepSpeed. The processes have been
    started.

    Args:
        ds_config: DeepSpeed's settings; default: what ``config`` makes of them.
    """
    keep_freed_memory()
    set_tf32(config.run.precision)
    if ds_config is None:
        precision = resolve_precision(config.run.precision, world.device)
        ds_config = deepspeed_config(config.run, precision=precision, optimizer=config.optimizer.name)
    method = build_method(config, world, TrainingData(index))
    if config.run.compile:
        compile_networks(method)
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    engine = start_engine(method.model, optimizer, ds_config, world)
    return Trainer(config, method, engine, batches_per_epoch=batches_per_epoch, timed=timed)


def compile_networks(method: Method) -> None:
    """Has torch compile the forwards of what is trained and of its momentum copy, each with its heads as one graph, and
    their backward; at their first batch. The momentum update is one multi-tensor call as it is."""
    for network in (method.model, method.target):
        if network is not None:
            network.compile()
