"""What two gloo processes must agree on; ``test_two_ranks.py`` starts one process a rank. Not a test by itself.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/two_ranks.py shuffle,0,bf16 &
RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/two_ranks.py shuffle,0,bf16
"""

import hashlib
import sys
from dataclasses import replace

import torch

from train.deepspeed_config import deepspeed_config
from train.engine import build_optimizer, start_engine
from train.methods import build_method
from train.methods.moco import MoCo
from train.recipes import recipe
from train.sections import RunConfig
from train.shuffle import shuffle_across_ranks
from train.world import World, describe_world, start_processes


def check_shuffle(world: World) -> None:
    """Keys come back to their queries; a rank's share is a mix of both ranks' images."""
    images = (torch.arange(6.0) + 6 * world.rank).view(6, 1, 1, 1)
    for step in range(3):
        share, collect = shuffle_across_ranks(images, world=world, seed=1, step=step)
        assert torch.equal(collect(share.view(6, 1)), torch.arange(12.0).view(12, 1))
        assert len(set(share.flatten().tolist()) & set(images.flatten().tolist())) in range(1, 6)
        everyone = world.gather(share).flatten()
        assert torch.equal(everyone.sort().values, torch.arange(12.0)), "each image goes to one rank"


def check_training(world: World, *, strategy: str, zero_stage: int, precision: str) -> None:
    """After some steps on different images, weights, key encoder and queue are equal on both ranks."""
    base = recipe("debug")
    run = RunConfig(batch_size=8, zero_stage=zero_stage, precision=precision)  # type: ignore[arg-type]
    config = replace(base, run=run, norm=replace(base.norm, strategy=strategy))
    method = build_method(config, world)
    assert isinstance(method, MoCo)
    optimizer = build_optimizer(config.optimizer, method.query.parameters())
    ds_config = deepspeed_config(run, precision=precision, optimizer=config.optimizer.name)
    engine = start_engine(method.query, optimizer, ds_config, world)
    start = digest([*method.key.parameters(), method.negatives.keys])
    generator = torch.Generator().manual_seed(world.rank)
    for batch in range(3):
        views = tuple(torch.randn(2, 8, 1, 32, 32, generator=generator))
        method.before_step()
        objective = method.objective(engine, views, batch=batch)
        engine.backward(objective.loss)
        method.after_backward()
        engine.step()
    state = [*method.query.parameters(), *method.key.parameters(), method.negatives.keys]
    assert all(tensor.dtype == torch.float32 for tensor in state)
    assert digest([*method.key.parameters(), method.negatives.keys]) != start
    assert method.negatives.position == 3 * 16 % config.method.queue_size
    number = torch.tensor([int(digest(state)[:15], 16)])
    assert len(set(world.gather(number).tolist())) == 1, f"ranks differ under {strategy}, ZeRO {zero_stage}"


def digest(tensors: list[torch.Tensor]) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    check_shuffle(here)
    for setting in sys.argv[1:]:
        strategy, stage, precision = setting.split(",")
        check_training(here, strategy=strategy, zero_stage=int(stage), precision=precision)
    torch.distributed.destroy_process_group()
