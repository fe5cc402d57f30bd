"""Does batch norm tell which key belongs to which query?

Here a query and its key are different images, so nothing in them says that they belong together; but the keys of a
batch are the images of its queries, in another order. Whoever solves this task has read the batch's statistics (MoCo,
section 3.3): they are the same for query and key, and others for the keys in the queue, which are of other batches. An
encoder need not even be trained for it: most images are black but for a little noise, and what a network makes of black
is its batch's statistics and nothing else.

Legend: B batch, K queue, D embedding.
"""

import pytest
import torch
from torch import Tensor, nn

from train.encoders.norms import group_norm, split_batchnorm
from train.methods.embedder import Embedder, mlp
from train.methods.momentum.target import Target
from train.methods.queue.info_nce import info_nce
from train.methods.queue.key_queue import KeyQueue
from train.ranks.world import World
from train.settings.config import NormConfig, PretrainConfig, RunConfig

BATCH, BRIGHT, QUEUE, WIDTH, STEPS = 32, 4, 256, 32, 60
BOTH_BLACK = (1 - BRIGHT / BATCH) ** 2  # the share of pairs in which there is nothing but statistics to go by
NOISE = 1e-3
ALONE = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def make_model(norm: NormConfig) -> Embedder:
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(1, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    model = Embedder(encoder, mlp([32, 64, WIDTH], norm=False, last_norm=False), None, channels_last=False)
    if norm.strategy == "split":
        split_batchnorm(model, norm.num_groups)
    elif norm.strategy == "group":
        group_norm(model, 8)
    return model


def draw_images(generator: torch.Generator) -> Tensor:
    """(B, 1, 8, 8), black but for a few bright patterns in random places; a little noise, so that no two are equal."""
    images = NOISE * torch.randn(BATCH, 1, 8, 8, generator=generator)
    strength = torch.randn(BRIGHT, 1, 1, 1, generator=generator).exp()
    patterns = torch.randn(BRIGHT, 1, 8, 8, generator=generator).exp()
    images[torch.randperm(BATCH, generator=generator)[:BRIGHT]] = strength * patterns
    return images


def pretext_accuracy(norm: NormConfig) -> float:
    """Share of queries whose key is nearer than the whole queue, with the trainer's key shuffle, queue and loss."""
    model = make_model(norm)
    target = Target(model, PretrainConfig(norm=norm, run=RunConfig(precision="fp32")), ALONE)
    negatives = KeyQueue(QUEUE, WIDTH, seed=0)
    generator = torch.Generator().manual_seed(0)
    accuracies = []
    for step in range(STEPS):
        images = draw_images(generator)
        keys = target.embed(images[torch.randperm(BATCH, generator=generator)], batch=step)
        with torch.no_grad():
            contrast = info_nce(model(images).embedding, keys, negatives.keys, temperature=0.2)
        negatives.enqueue(keys, torch.zeros(BATCH, dtype=torch.int64))
        if step >= QUEUE // BATCH:
            accuracies.append(contrast.accuracy)
    return torch.stack(accuracies).mean().item()


def test_plain_batch_norm_solves_what_only_leakage_can_solve() -> None:
    assert pretext_accuracy(NormConfig(strategy="plain")) > 0.95 * BOTH_BLACK


@pytest.mark.parametrize(
    ("norm", "at_most"),
    [
        # A group of queries and a group of keys still have 1 in num_groups images in common.
        (NormConfig(strategy="split", num_groups=4), 0.12),
        (NormConfig(strategy="group"), 0.06),
    ],
)
def test_the_strategies_for_one_process_do_not(norm: NormConfig, at_most: float) -> None:
    assert pretext_accuracy(norm) < at_most
