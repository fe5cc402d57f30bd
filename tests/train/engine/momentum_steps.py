"""The momentum copy against a float64 reference over 1,000 steps under DeepSpeed; ``test_precision.py`` starts it. Not
a test by itself.

    RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/engine/momentum_steps.py bf16,1

Settings are precision and ZeRO stage.
"""

import sys

import torch
from torch import nn

from train.encoders.norms import split_batchnorm
from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.optimizers import build_optimizer
from train.methods.embedder import Embedder, mlp
from train.methods.momentum.target import Target
from train.methods.queue.info_nce import info_nce
from train.methods.queue.key_queue import KeyQueue
from train.ranks.world import World, describe_world, start_processes
from train.settings.config import OptimizerConfig, PretrainConfig, RunConfig

BATCH, STEPS, MOMENTUM = 8, 1000, 0.999
EPSILON = torch.finfo(torch.float32).eps


def check(world: World, *, precision: str, zero_stage: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = Embedder(nn.Sequential(*layers), mlp([4, 8, 8], norm=False, last_norm=False), None, channels_last=False)
    split_batchnorm(model, 2)
    run = RunConfig(batch_size=BATCH, zero_stage=zero_stage, precision=precision)  # type: ignore[arg-type]
    target = Target(model, PretrainConfig(run=run), world)
    negatives = KeyQueue(32, 8, seed=0)
    optimizer = build_optimizer(OptimizerConfig(name="adamw", lr=1e-3), model.parameters())
    engine = start_engine(model, optimizer, deepspeed_config(run, precision=precision, optimizer="adamw"), world)

    followers, sources = list(target.parameters()), list(model.parameters())
    exact = [follower.double() for follower in followers]
    start = [follower.clone() for follower in exact]
    largest = [follower.abs() for follower in exact]
    for step in range(STEPS):
        target.follow(MOMENTUM)
        with torch.no_grad():
            torch._foreach_lerp_(exact, [source.double() for source in sources], 1 - MOMENTUM)
            largest = [torch.maximum(most, now.abs()) for most, now in zip(largest, exact, strict=True)]
        views = torch.randn(2, BATCH, 1, 6, 6)
        keys = target.embed(views[1], batch=step)
        engine.backward(info_nce(engine(views[0]).embedding, keys, negatives.keys, temperature=0.2).loss)
        engine.step()
        negatives.enqueue(keys, torch.zeros(BATCH, dtype=torch.int64))

    # A step rounds a weight by at most half of epsilon, its small addend by far less; all that came before is shrunk by
    # the momentum. So errors add up to no more than a geometric sum.
    rounds = (1 - MOMENTUM**STEPS) / (1 - MOMENTUM)
    for follower, reference, before, most in zip(followers, exact, start, largest, strict=True):
        assert follower.dtype == torch.float32
        error = (follower.double() - reference).abs()
        assert (error <= 0.55 * EPSILON * rounds * most + 1e-9).all(), f"{precision}: off by {error.max():.1e}"
        assert error.norm() < 1e-3 * (reference - before).norm(), f"{precision}: lost beside the way taken"


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    for setting in sys.argv[1:]:
        name, stage = setting.split(",")
        check(here, precision=name, zero_stage=int(stage))
    torch.distributed.destroy_process_group()
