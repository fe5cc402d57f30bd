"""MoCo's building blocks as others have them: momentum update, loss and queue.

Legend: B batch, D embedding, K queue.
"""

import copy
from collections.abc import Callable
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.step.reference import MOMENTUM, TEMPERATURE, WIDTH
from train.encoders.build import build_encoder
from train.methods.momentum.update import MomentumUpdate
from train.methods.queue.info_nce import info_nce
from train.methods.queue.key_queue import KeyQueue

MOCO, LIGHTLY, TIMM, TRAINER = "MoCo's own code", "lightly", "timm ModelEmaV3", "ours (trainer)"
ABSENT = "not measured: lightly (not installed; make bench-peers installs it)"


def has_lightly() -> bool:
    """Whether lightly is installed; timm always is."""
    return find_spec("lightly") is not None


def compare_momentum(encoder: str, *, turns: int, device: torch.device) -> Comparison:
    """The moving average of an encoder's parameters, from the same weights; checked equal after one update."""
    from timm.utils import ModelEmaV3

    query = build_encoder(encoder).to(device)
    start = build_encoder(encoder, seed=1).to(device).requires_grad_(False)
    keys = {name: copy.deepcopy(start) for name in (MOCO, TRAINER)}

    @torch.no_grad()
    def moco() -> None:
        for key, source in zip(keys[MOCO].parameters(), query.parameters(), strict=True):
            key.data = key.data * MOMENTUM + source.data * (1.0 - MOMENTUM)

    variants: dict[str, Callable[[], object]] = {MOCO: moco}
    if has_lightly():
        from lightly.models.utils import update_momentum

        keys[LIGHTLY] = copy.deepcopy(start)
        variants[LIGHTLY] = lambda: update_momentum(query, keys[LIGHTLY], m=MOMENTUM)
    average = ModelEmaV3(start, decay=MOMENTUM)
    keys[TIMM] = average.module
    variants[TIMM] = lambda: average.update(query)
    update = MomentumUpdate(keys[TRAINER].parameters(), query.parameters())
    variants[TRAINER] = lambda: update(MOMENTUM)
    for name, call in variants.items():
        call()
        for key, reference in zip(keys[name].parameters(), keys[MOCO].parameters(), strict=True):
            torch.testing.assert_close(key, reference, msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]
    num_parameters = sum(p.numel() for p in query.parameters())
    remarks = [f"{TIMM} also averages the {len(list(query.buffers()))} buffers of batch norm, and lists its state anew"]
    return Comparison(
        title=f"peers: momentum update, {encoder}, {device.type}",
        work=f"{num_parameters:,} fp32 parameters, 12 bytes each",
        rate=12.0 * num_parameters / 1e9,
        unit="GB",
        timings=time_variants(variants, turns=turns, device=device),
        remarks=tuple(remarks if has_lightly() else [*remarks, ABSENT]),
    )


def compare_loss_and_queue(size: int, batch: int, *, turns: int, device: torch.device) -> Comparison:
    """From embeddings (B, D) that are not normalised to their gradient, and the keys in the queue of K; checked for
    equal losses, gradients and queues."""
    generator = torch.Generator().manual_seed(0)
    embeddings, others = (torch.randn(batch, WIDTH, generator=generator).to(device) for _ in range(2))
    query = embeddings.requires_grad_()
    patients = torch.arange(batch, device=device)
    ours = KeyQueue(size, WIDTH, seed=0, device=device)
    theirs = MoCoQueue(ours.keys.T.clone())

    def moco() -> Tensor:
        key = F.normalize(others, dim=1)
        loss = theirs.loss(F.normalize(query, dim=1), key)
        theirs.enqueue(key)
        return loss

    variants: dict[str, Callable[[], Tensor]] = {MOCO: moco}
    queues: dict[str, Callable[[], Tensor]] = {MOCO: lambda: theirs.keys.T, TRAINER: lambda: ours.keys}
    if has_lightly():
        from lightly.loss import NTXentLoss

        criterion = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(size, WIDTH)).to(device)
        criterion.memory_bank.bank.copy_(ours.keys)
        variants[LIGHTLY] = lambda: criterion(query, others)
        queues[LIGHTLY] = lambda: criterion.memory_bank.bank

    def trainer() -> Tensor:
        key = F.normalize(others, dim=1)
        return info_nce(F.normalize(query, dim=1), key, ours.keys, temperature=TEMPERATURE).loss

    variants[TRAINER] = trainer

    def whole(name: str) -> Tensor:
        query.grad = None
        loss = variants[name]()
        loss.backward()
        if name == TRAINER:  # the loss refers to the queue, so keys go in behind the backward pass
            ours.enqueue(F.normalize(others, dim=1), patients)
        assert query.grad is not None
        return loss.detach()

    losses, gradients = {}, {}
    for name in variants:
        losses[name] = whole(name)
        assert query.grad is not None
        gradients[name] = query.grad.clone()
    for name in variants:
        torch.testing.assert_close(losses[name], losses[MOCO])
        torch.testing.assert_close(gradients[name], gradients[MOCO], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(queues[name](), queues[MOCO](), msg=lambda text, name=name: f"{name}: {text}")  # type: ignore[misc]
    return Comparison(
        title=f"peers: loss and queue, queue {size:,}, batch {batch}, {device.type}",
        work=f"normalising, InfoNCE forward and backward, enqueue; embedding {WIDTH}",
        rate=4.0 * batch * size * WIDTH / 1e9,
        unit="GFLOP",
        timings=time_variants({name: lambda name=name: whole(name) for name in variants}, turns=turns, device=device),  # type: ignore[misc]
        remarks=() if has_lightly() else (ABSENT,),
    )


class MoCoQueue:
    """MoCo's own queue (D, K) and loss: cloned, concatenated, its position kept on the device."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self.position = torch.zeros(1, dtype=torch.long, device=keys.device)

    def loss(self, query: Tensor, key: Tensor) -> Tensor:
        positive = torch.einsum("nc,nc->n", query, key).unsqueeze(-1)  # (B, 1)
        negative = torch.einsum("nc,ck->nk", query, self.keys.clone().detach())  # (B, K)
        logits = torch.cat([positive, negative], dim=1) / TEMPERATURE
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))

    def enqueue(self, key: Tensor) -> None:
        """Of keys (B, D); K is to be a multiple of B, as MoCo's code asks."""
        position, size = int(self.position), self.keys.shape[1]  # waits for the device
        assert size % len(key) == 0
        self.keys[:, position : position + len(key)] = key.T
        self.position[0] = (position + len(key)) % size
