"""Two gloo processes against one of twice the batch; ``test_sync_batchnorm.py`` starts one process a rank. Not a test
by itself.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/encoders/sync_two_ranks.py &
RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/encoders/sync_two_ranks.py
"""

import copy

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.encoders.norms import sync_batchnorm
from train.ranks.world import World, describe_world, start_processes


class Network(nn.Module):
    """Batch norm over feature maps, with weight and bias, and over features, without."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5, affine=False))

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.head(self.maps(images).mean(dim=(2, 3)))
        return output


def check(world: World, *, precision: torch.dtype | None, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    whole = Network()
    nn.init.uniform_(whole.maps[1].weight)  # type: ignore[arg-type]
    synced = sync_batchnorm(copy.deepcopy(whole))
    images = 3 + torch.randn(8, 1, 7, 9).to(memory_format=memory_format)  # far from zero, where sums of squares cancel
    coefficients = torch.randn(8, 5)
    own = slice(4 * world.rank, 4 * world.rank + 4)
    mine, all_of_it = images[own].clone().requires_grad_(), images.clone().requires_grad_()
    tolerance = 1e-4 if precision is None else 5e-2
    with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
        for _ in range(2):  # running statistics after more than one step
            output, expected = synced(mine), whole(all_of_it)
    assert_near(output, expected[own], tolerance)
    (output * coefficients[own]).sum().backward()
    (expected * coefficients).sum().backward()
    assert mine.grad is not None
    assert all_of_it.grad is not None
    assert_near(mine.grad, all_of_it.grad[own], tolerance)
    for parameter, reference in zip(synced.parameters(), whole.parameters(), strict=True):
        assert parameter.grad is not None
        dist.all_reduce(parameter.grad)
        assert reference.grad is not None
        assert_near(parameter.grad, reference.grad, tolerance)
    for (name, buffer), reference in zip(synced.named_buffers(), whole.buffers(), strict=True):
        assert_near(buffer, reference, tolerance)
        everyone = world.gather(buffer[None])
        assert torch.equal(everyone[0], everyone[1]), f"{name} differs between the ranks"
    assert_near(synced.eval()(images), whole.eval()(images), tolerance)
    ordinary = Network().eval()
    ordinary.load_state_dict(synced.state_dict())
    assert_near(ordinary(images), whole(images), tolerance)


def assert_near(value: Tensor, reference: Tensor, tolerance: float) -> None:
    """The difference is small beside the reference, both as norms."""
    error = (value - reference).float().norm() / reference.float().norm()
    assert error < tolerance, f"relative error {error:.1e}"


if __name__ == "__main__":
    here = describe_world()
    start_processes(here)
    check(here, precision=None, memory_format=torch.contiguous_format)
    check(here, precision=None, memory_format=torch.channels_last)
    check(here, precision=torch.bfloat16, memory_format=torch.contiguous_format)
    dist.destroy_process_group()
