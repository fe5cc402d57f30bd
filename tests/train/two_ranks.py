"""What two gloo processes must agree on; ``test_two_ranks.py`` starts one process a rank. Not a test by itself.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/two_ranks.py train,shuffle,0,bf16 &
RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/two_ranks.py train,shuffle,0,bf16
"""

import os
import signal
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shards.base.errors import InputError
from train.engine.optimizer_state import load_optimizer_state, optimizer_state
from train.engine.optimizers import build_optimizer
from train.engine.torch_engine import TorchEngine
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.methods.momentum.shuffle import shuffle_across_ranks
from train.ranks.stop import Stop
from train.ranks.world import World, describe_world, start_processes
from train.run.guards import compare_ranks, state_hashes
from train.settings.config import MethodConfig, NormConfig, OptimizerConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.settings.recipes import recipe
from train.trainer import Trainer, start_trainer

BATCH = 8  # a rank
ALONE = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


class Rows:
    """What :class:`TrainingData` reads of an index: row i is of patient i // 2."""

    rows = np.arange(64)

    def __len__(self) -> int:
        return 64

    def patients(self) -> Any:
        return np.arange(64) // 2


def start(config: PretrainConfig, world: World) -> Trainer:
    index: Any = Rows()
    return start_trainer(config, index, world, batches_per_epoch=10)


def start_alone(config: PretrainConfig) -> Trainer:
    """One process that has the batches of both, without DeepSpeed."""
    config = replace(config, run=replace(config.run, batch_size=2 * BATCH))
    index: Any = Rows()
    method = build_method(config, ALONE, TrainingData(index))
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    engine = TorchEngine(method.model, optimizer, precision="fp32", clipping=0.0, world=ALONE)
    return Trainer(config, method, engine, batches_per_epoch=10)


def views_of(world: World, batch: int) -> tuple[Tensor, ...]:
    """This rank's share of a batch that is the same for any number of ranks."""
    everyone = torch.randn(2, 2 * BATCH, 1, 32, 32, generator=torch.Generator().manual_seed(batch))
    share = 2 * BATCH // world.size
    return tuple(everyone[:, world.rank * share : (world.rank + 1) * share])


def rows_of(world: World, batch: int) -> Tensor:
    share = 2 * BATCH // world.size
    return (torch.arange(world.rank * share, (world.rank + 1) * share) + batch) % 64


def check_shuffle(world: World) -> None:
    """Keys come back to their queries; a rank's share is a mix of both ranks' images."""
    images = (torch.arange(6.0) + 6 * world.rank).view(6, 1, 1, 1)
    for step in range(3):
        share, collect = shuffle_across_ranks(images, world=world, seed=1, step=step)
        assert torch.equal(collect(share.view(6, 1)), torch.arange(12.0).view(12, 1))
        assert len(set(share.flatten().tolist()) & set(images.flatten().tolist())) in range(1, 6)
        everyone = world.gather(share).flatten()
        assert torch.equal(everyone.sort().values, torch.arange(12.0)), "each image goes to one rank"


def check_stop(world: World) -> None:
    """A signal to one rank stops both at the same step."""
    stop = Stop(world)
    steps = 0
    while not stop.agreed():
        steps += 1
        if world.rank == 1 and steps == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        assert steps < 100_000
    stop.close()
    assert len(set(world.gather(torch.tensor([steps])).tolist())) == 1, "the ranks stop at the same step"
    assert steps > 5


def check_training(world: World, strategy: str, zero_stage: str, precision: str) -> None:
    """After some steps on different images, weights, key encoder and queue are equal on both ranks; the optimiser's
    state, put together, is taken back by any stage; and a difference is found."""
    base = recipe("debug")
    run = RunConfig(batch_size=BATCH, epochs=1, zero_stage=int(zero_stage), precision=precision)  # type: ignore[arg-type]
    config = replace(base, run=run, norm=replace(base.norm, strategy=strategy))
    trainer = start(config, world)
    method = trainer.method
    before = state_hashes(method)
    for batch in range(3):
        trainer.step(views_of(world, batch), rows_of(world, batch))
    assert all(parameter.dtype == torch.float32 for parameter in method.model.parameters())
    after = state_hashes(method)
    parts = {name.partition(".")[0] for name in after if after[name] != before[name]}
    assert parts == {"model", "target", "negatives"}, "all of them have moved"
    compare_ranks(method, world, step=3)
    check_optimizer_state(trainer, world)
    with torch.no_grad():
        next(method.model.parameters()).add_(world.rank)
    with pytest.raises(InputError, match=r"model of rank\(s\) 1 differ"):
        compare_ranks(method, world, step=4)


def check_optimizer_state(trainer: Trainer, world: World) -> None:
    config, method = trainer.config, trainer.method
    saved = optimizer_state(trainer.engine, method.model, world)
    assert saved.keys() == {name for name, parameter in method.model.named_parameters() if parameter.requires_grad}
    for stage in {0, 2} - {config.run.zero_stage}:
        other = replace(config, run=replace(config.run, zero_stage=stage))
        new = start(other, world)
        new.method.load_state_dict(method.state_dict())
        load_optimizer_state(new.engine, new.method.model, saved)
        again = optimizer_state(new.engine, new.method.model, world)
        assert again.keys() == saved.keys()
        for name, state in saved.items():
            for key, value in state.items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(again[name][key])), (stage, name, key)


def check_equal_batches(world: World, name: str, zero_stage: str) -> None:
    """Two processes of batch B give the losses of one of 2B, here without DeepSpeed, with group norm."""
    config = PretrainConfig(
        method=MethodConfig(name=name, embedding=32, projector_hidden=48, predictor_hidden=24, queue_size=32),  # type: ignore[arg-type]
        norm=NormConfig(strategy="group"),
        optimizer=OptimizerConfig(name="sgd", lr=0.02),
        schedule=ScheduleConfig(name="constant"),
        run=RunConfig(epochs=1, batch_size=BATCH, precision="fp32", zero_stage=int(zero_stage)),
    )
    together, alone = start(config, world), start_alone(config)
    ours, theirs = [], []
    for batch in range(5):
        loss = together.step(views_of(world, batch), rows_of(world, batch)).loss.detach()
        ours.append(world.mean(loss.clone()).item())
        theirs.append(alone.step(views_of(ALONE, batch), rows_of(ALONE, batch)).loss.item())
    assert np.allclose(ours, theirs, rtol=2e-4, atol=2e-4), f"{name}, ZeRO {zero_stage}: {ours} and {theirs}"
    assert len(set(ours)) > 1


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    for setting in sys.argv[1:]:
        what, *arguments = setting.split(",")
        checks: dict[str, Any] = {
            "shuffle": check_shuffle,
            "stop": check_stop,
            "train": check_training,
            "equal": check_equal_batches,
        }
        checks[what](here, *arguments)
    torch.distributed.destroy_process_group()
