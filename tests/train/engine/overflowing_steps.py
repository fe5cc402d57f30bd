"""Gradients beyond fp16 on one of two ranks: all pass over the step and lower their loss scale, at every ZeRO stage.
``test_deepspeed.py`` starts one process a rank. Not a test by itself."""

import torch
from torch import nn

from train.engine.deepspeed import deepspeed_config, loss_scaler, start_engine
from train.engine.optimizers import build_optimizer
from train.ranks.world import World, describe_world, start_processes
from train.settings.config import OptimizerConfig, RunConfig


def check(world: World, stage: int) -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 4)
    optimizer = build_optimizer(OptimizerConfig(lr=0.01), network.parameters())
    ds_config = deepspeed_config(RunConfig(batch_size=4, zero_stage=stage), precision="fp16", optimizer="adam")
    engine = start_engine(network, optimizer, ds_config, world)
    for overflows in (True, True, False):
        before = network.weight.detach().clone()
        scaler = loss_scaler(engine)
        assert scaler is not None
        scale = scaler.get_scale()
        factor = 1e35 if overflows and world.rank == 0 else 1.0
        engine.backward(engine(torch.randn(4, 4)).float().square().mean() * factor)
        engine.step()
        assert scaler.get_scale() == (scale / 2 if overflows else scale), f"stage {stage}"
        assert torch.equal(network.weight, before) == overflows, f"stage {stage}"
        assert network.weight.isfinite().all()
        everyone = world.gather(network.weight.detach()[None])
        assert torch.equal(everyone[0], everyone[-1]), f"stage {stage}: the ranks differ"


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    for each in (0, 1, 2):
        check(here, each)
    torch.distributed.destroy_process_group()
