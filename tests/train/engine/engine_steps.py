"""DeepSpeed's steps against plain PyTorch over the same images; ``test_engine.py`` starts one process a rank. Not a
test by itself. The reference is in fp32 throughout.

    RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/engine/engine_steps.py 2,fp32,sgd,2,0.1

Settings are ZeRO stage, precision, optimiser, gradient accumulation, gradient clipping.
"""

import copy
import sys

import torch
from torch import Tensor, nn

from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.optimizers import build_optimizer
from train.ranks.world import World, describe_world, start_processes
from train.settings.config import OptimizerConfig, RunConfig

BATCH, STEPS = 4, 3


class Network(nn.Module):
    """Without batch norm, so that ranks and accumulated batches add up to one large batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.layers(images)
        return output.float()


def loss_of(first: Tensor, second: Tensor) -> Tensor:
    """Of two forwards, as in symmetric methods; small enough for the first loss scale of fp16."""
    return 0.1 * (first.square().mean() + (second - 1).abs().mean())


def check(world: World, setting: str) -> None:
    stage, precision, name, accumulation, clipping = setting.split(",")
    run = RunConfig(
        batch_size=BATCH,
        zero_stage=int(stage),
        precision=precision,  # type: ignore[arg-type]
        gradient_accumulation=int(accumulation),
        gradient_clipping=float(clipping),
    )
    config = OptimizerConfig(name=name, weight_decay=0.1, trust=0.02, exclude="norms_and_biases")  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = Network()
    plain = copy.deepcopy(network)
    ds_config = deepspeed_config(run, precision=precision, optimizer=name)
    engine = start_engine(network, build_optimizer(config, network.parameters()), ds_config, world)
    reference = build_optimizer(config, plain.parameters())

    start = [parameter.detach().clone() for parameter in plain.parameters()]
    for step in range(STEPS):
        lr = 0.05 / (step + 1)
        for group in (*engine.optimizer.param_groups, *reference.param_groups):
            group["lr"] = lr
        views = torch.randn(2, int(accumulation), world.size, BATCH, 1, 5, 5)
        for part in range(int(accumulation)):
            engine.backward(loss_of(*(engine(view[part, world.rank]) for view in views)))
            engine.step()
        loss = loss_of(*(plain(view.flatten(0, 2)) for view in views))
        reference.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), float(clipping) or torch.inf)
        assert float(clipping) == 0 or norm > 2 * float(clipping), "clipping acts"
        reference.step()
    for ours, theirs, before in zip(network.parameters(), plain.parameters(), start, strict=True):
        assert ours.dtype == torch.float32
        error = (ours - theirs).norm() / (theirs - before).norm()
        assert error < (1e-4 if precision == "fp32" else 0.15), f"{setting}: off by {error:.1e} of the way taken"


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    for each in sys.argv[1:]:
        check(here, each)
    torch.distributed.destroy_process_group()
