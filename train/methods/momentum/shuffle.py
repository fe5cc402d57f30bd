"""Key shuffles: which images the key encoder sees together, so that a key's batch-mates are not its query's.

A shuffle is addressed by (seed, step), never drawn from a stream: every rank derives the same permutation, and a
resumed run the same as an uninterrupted one. Legend: B batch per rank, R ranks, D embedding.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.upload import upload
from train.ranks.world import World

Collect = Callable[[Tensor], Tensor]
"""Takes a rank's keys (B, D), in shuffled order, to the keys of all ranks (R * B, D), in the order of their queries."""


def permutation(length: int, *, seed: int, step: int) -> Tensor:
    """A random permutation of ``range(length)`` that depends on nothing but its arguments; int64, on the CPU."""
    # Both numbers must matter in full: the multiplier spreads seeds over the 64-bit space of generator seeds.
    generator = torch.Generator().manual_seed((seed * 0x9E3779B97F4A7C15 + step) % 2**63)
    return torch.randperm(length, generator=generator)


def shuffle_inside_rank(images: Tensor, *, world: World, seed: int, step: int) -> tuple[Tensor, Collect]:
    """Permutes a rank's own images (B, C, H, W), so that split batch norm groups keys otherwise than queries."""
    order = permutation(len(images), seed=seed, step=step)
    back = upload(order.argsort(), images.device)
    return images[upload(order, images.device)], lambda keys: world.gather(keys[back])


def shuffle_across_ranks(images: Tensor, *, world: World, seed: int, step: int) -> tuple[Tensor, Collect]:
    """Deals the ranks' images (B, C, H, W) out anew, in equal shares (MoCo's ShuffleBN, section 3.3).

    Cost: one all-gather of the images.
    """
    batch = len(images)
    everyone = world.gather(images)  # (R * B, C, H, W)
    order = permutation(len(everyone), seed=seed, step=step)
    mine = upload(order[world.rank * batch : (world.rank + 1) * batch], images.device)
    back = upload(order.argsort(), images.device)
    return everyone[mine], lambda keys: world.gather(keys)[back]
