"""The MoCo hot path apart from the network: momentum update, InfoNCE, enqueue. Variants are checked equal, then timed.

    python -m benchmarks hotpath --encoder resnet18 densenet121 --queue 4096 65536

Expect on a CPU: the multi-tensor momentum update at about a third of the out-of-place loop's time, near the time of a
plain copy of the same bytes; the split loss somewhat under the concatenated one.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import time_variants
from benchmarks.result import Comparison
from train.encoders import build_encoder
from train.losses.info_nce import info_nce
from train.momentum import MomentumUpdate
from train.negatives import KeyQueue


@dataclass(frozen=True, kw_only=True)
class HotpathConfig:
    """Which grid is measured."""

    encoder: tuple[Literal["resnet18", "resnet50", "densenet121"], ...] = ("resnet18", "densenet121")
    """Encoders for the momentum update."""
    queue: tuple[int, ...] = (4096, 24576, 65536)
    """Queue sizes for loss and enqueue."""
    batch: tuple[int, ...] = (128,)
    """Batch sizes for loss and enqueue."""
    turns: int = 15
    """Turns each variant is timed."""
    device: str = "cpu"
    """cpu or cuda."""


def run(config: HotpathConfig) -> list[Comparison]:
    """Measures the grid."""
    device = torch.device(config.device)
    comparisons = [_momentum(name, config.turns, device) for name in config.encoder]
    for size in config.queue:
        for batch in config.batch:
            comparisons += [_loss(size, batch, config.turns, device), _enqueue(size, batch, config.turns, device)]
    return comparisons


def _momentum(name: str, turns: int, device: torch.device) -> Comparison:
    momentum = 0.999
    query = [p.detach() for p in build_encoder(name).to(device).parameters()]
    keys = {variant: [torch.rand_like(p) for p in query] for variant in ("out-of-place loop",)}
    for variant in ("in-place loop", "multi-tensor (trainer)", "copy of the same bytes"):
        keys[variant] = [p.clone() for p in keys["out-of-place loop"]]
    holders = [torch.nn.Parameter(p.clone(), requires_grad=False) for p in keys["out-of-place loop"]]

    def out_of_place() -> None:
        for k, q in zip(holders, query, strict=True):
            k.data = k.data * momentum + q * (1 - momentum)

    def in_place() -> None:
        for k, q in zip(keys["in-place loop"], query, strict=True):
            k.mul_(momentum).add_(q, alpha=1 - momentum)

    update = MomentumUpdate(keys["multi-tensor (trainer)"], query)

    def copied() -> None:
        torch._foreach_copy_(keys["copy of the same bytes"], query)

    variants = {
        "out-of-place loop": out_of_place,
        "in-place loop": in_place,
        "multi-tensor (trainer)": lambda: update(momentum),
        "copy of the same bytes": copied,
    }
    for call in variants.values():
        call()
    for k, other, reference in zip(update.key, keys["in-place loop"], holders, strict=True):
        torch.testing.assert_close(k, reference.data)
        torch.testing.assert_close(other, reference.data)
    num_parameters = sum(p.numel() for p in query)
    return Comparison(
        title=f"momentum update, {name}",
        work=f"{num_parameters:,} fp32 parameters, 12 bytes each (the copy moves 8)",
        rate=12.0 * num_parameters / 1e9,
        unit="GB",
        timings=time_variants(variants, turns=turns, device=device),
    )


def _loss(size: int, batch: int, turns: int, device: torch.device) -> Comparison:
    generator = torch.Generator().manual_seed(0)
    query, key = (F.normalize(torch.randn(batch, 128, generator=generator)).to(device) for _ in range(2))
    queue = KeyQueue(size, 128, seed=0, device=device).keys
    leaf = query.clone().requires_grad_()

    def concatenated() -> Tensor:
        logits = torch.cat([(leaf * key).sum(1, keepdim=True), leaf @ queue.clone().T], dim=1) / 0.2
        return F.cross_entropy(logits, torch.zeros(batch, dtype=torch.long, device=device))

    def split() -> Tensor:
        return info_nce(leaf, key, queue, temperature=0.2).loss

    def with_gradient(loss: Tensor) -> Tensor:
        leaf.grad = None
        loss.backward()
        assert leaf.grad is not None
        return copy.copy(leaf.grad)

    torch.testing.assert_close(split(), concatenated())
    torch.testing.assert_close(with_gradient(split()), with_gradient(concatenated()), rtol=1e-4, atol=1e-6)
    variants = {
        "concatenated cross entropy": lambda: with_gradient(concatenated()),
        "split (trainer)": lambda: with_gradient(split()),
    }
    return Comparison(
        title=f"InfoNCE, queue {size:,}, batch {batch}",
        work="forward and backward, embedding 128",
        rate=4.0 * batch * size * 128 / 1e9,  # the logits, and the gradient of the queries
        unit="GFLOP",
        timings=time_variants(variants, turns=turns, device=device),
    )


def _enqueue(size: int, batch: int, turns: int, device: torch.device) -> Comparison:
    keys = F.normalize(torch.randn(batch, 128)).to(device)
    trainer, reference = (KeyQueue(size, 128, seed=0, device=device) for _ in range(2))
    patients, positions = torch.zeros(batch, dtype=torch.int64, device=device), torch.arange(batch, device=device)
    state = {"position": 0}

    def by_index() -> None:
        slots = (positions + state["position"]) % size
        reference.keys.index_copy_(0, slots, keys)
        reference.patients.index_copy_(0, slots, patients)
        state["position"] = (state["position"] + batch) % size

    for _ in range(size // batch + 2):  # once around
        by_index()
        trainer.enqueue(keys, patients)
    torch.testing.assert_close(trainer.keys, reference.keys)
    return Comparison(
        title=f"enqueue, queue {size:,}, batch {batch}",
        work="embedding 128",
        rate=batch / 1e3,
        unit="k keys",
        timings=time_variants(
            {"index copy": by_index, "slices (trainer)": lambda: trainer.enqueue(keys, patients)},
            turns=turns,
            device=device,
        ),
    )
