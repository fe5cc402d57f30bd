"""Two forwards of one DeepSpeed engine before one backward; ``test_two_forwards.py`` starts it. Not a test by itself.

python tests/train/methods/two_forwards.py fp32
"""

import copy
import sys
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from train.engine.deepspeed import deepspeed_config, start_engine
from train.methods.embedder import Embedder, mlp
from train.methods.simsiam import negative_cosine
from train.ranks.world import World, describe_world, start_processes
from train.settings.config import RunConfig

# bf16: under ZeRO 1 and 2, DeepSpeed rounds each gradient to what was multiplied in, by 2^-9 at most; batch norm over
# 8 images makes much of that within three steps.
NUM_STEPS = {"fp32": 3, "bf16": 1}
TOLERANCE = {"fp32": 1e-5, "bf16": 4e-3}


def network() -> Embedder:
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )
    projector, predictor = mlp([32, 24, 16], norm=True, last_norm=True), mlp([16, 8, 16], norm=True, last_norm=False)
    return Embedder(encoder, projector, predictor, channels_last=True)


def symmetric_loss(forward: Any, seed: int) -> torch.Tensor:
    """SimSiam's: each forward takes part in both terms."""
    views = torch.randn(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    first, second = forward(views[0]), forward(views[1])
    loss = negative_cosine(first.prediction, second.embedding) + negative_cosine(second.prediction, first.embedding)
    return loss / 2


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    """One whose steps are in proportion to gradients: Adam's would not show a wrong scale."""
    return torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9)


def plain(module: Embedder, *, accumulation: int, precision: str) -> None:
    optimizer = optimizer_of(module)

    def forward(views: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            return module(views)

    for step in range(NUM_STEPS[precision]):
        optimizer.zero_grad()
        for part in range(accumulation):
            (symmetric_loss(forward, step * accumulation + part) / accumulation).backward()
        optimizer.step()


def under_deepspeed(module: Embedder, world: World, *, stage: int, accumulation: int, precision: Any) -> None:
    run = RunConfig(batch_size=8, zero_stage=stage, gradient_accumulation=accumulation, precision=precision)
    ds_config = deepspeed_config(run, precision=precision, optimizer="sgd")
    engine = start_engine(module, optimizer_of(module), ds_config, world)
    for batch in range(NUM_STEPS[precision] * accumulation):
        engine.backward(symmetric_loss(engine, batch))
        engine.step()


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    for precision in sys.argv[1:]:
        for accumulation in (1, 2):
            reference = network()
            start = copy.deepcopy(reference.state_dict())
            plain(reference, accumulation=accumulation, precision=precision)
            for stage in (0, 1, 2):
                module = network()
                under_deepspeed(module, here, stage=stage, accumulation=accumulation, precision=precision)
                for name, value in module.named_parameters():
                    moved = (reference.get_parameter(name) - start[name]).norm()
                    error = (value - reference.get_parameter(name)).norm()
                    where = f"{name} under {precision}, ZeRO {stage}, {accumulation} batches a step"
                    assert moved > 0, where
                    assert error < TOLERANCE[precision] * moved, f"{where}: off by {error / moved:.1e} of its way"
                for name, buffer in module.named_buffers():
                    torch.testing.assert_close(buffer, reference.get_buffer(name), rtol=1e-2, atol=1e-3, msg=name)
    torch.distributed.destroy_process_group()
