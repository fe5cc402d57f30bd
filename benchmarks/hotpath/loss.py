"""InfoNCE over a queue, forward and backward, in the ways it is written. Part of ``python -m benchmarks hotpath``.

Operations are those of the two products that every way needs, the logits and the gradient of the queries: 4 B K D.

Legend: B batch, D embedding, K queue.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.hotpath.momentum import name_in
from benchmarks.hotpath.queue import IndexedQueue
from benchmarks.measuring.result import Comparison, Timing
from benchmarks.measuring.timing import time_variants
from train.methods.queue.info_nce import info_nce
from train.methods.queue.key_queue import KeyQueue

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # read at the first profile: otherwise five lines on stderr for each
WIDTH, TEMPERATURE = 128, 0.2
CLONED, TRAINER = "clone, concatenate", "slices of the queue (trainer)"
PLAIN_ALL, TRAINER_ALL = "clone, concatenate, index_copy_", "trainer"

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure_loss(size: int, batch: int, *, turns: int, device: torch.device, compiles: bool) -> Comparison:
    """Checks loss and gradient of each way against float64, then times them and takes their peak memory."""
    query, key, queue = _inputs(size, batch, device)
    ways: dict[str, Loss] = {
        CLONED: cloned,
        "concatenate": _concatenated,
        "split logaddexp": _split,
        TRAINER: _trainer,
    }
    if compiles:
        torch.compiler.reset()  # a function compiled for many sizes is no longer compiled, silently
        ways["concatenate, compiled"] = torch.compile(_concatenated, dynamic=False)
        ways["split logaddexp, compiled"] = torch.compile(_split, dynamic=False)
    exact = query.detach().double().requires_grad_()
    expected = _concatenated(exact, key.double(), queue.double())
    (gradient,) = torch.autograd.grad(expected, exact)
    for name, way in ways.items():
        torch.testing.assert_close(way(query, key, queue).double(), expected, rtol=1e-5, atol=0, msg=name_in(name))
        (found,) = torch.autograd.grad(way(query, key, queue), query)
        torch.testing.assert_close(found.double(), gradient, rtol=1e-4, atol=1e-6, msg=name_in(name))

    def forward_and_backward(way: Loss) -> Tensor:
        return torch.autograd.grad(way(query, key, queue), query)[0]

    variants = {name: partial(forward_and_backward, way) for name, way in ways.items()}
    timings = time_variants(variants, turns=turns, device=device)
    memory = {name: peak_bytes(call, device) for name, call in variants.items()}
    return Comparison(
        title=f"InfoNCE, queue {size:,}, batch {batch}",
        work=f"forward and backward, width {WIDTH}",
        rate=float(batch),
        unit="queries",
        timings=timings,
        remarks=(
            _against(TRAINER, CLONED, timings, memory),
            "a Triton kernel: not tried, as its gain over slices of the queue could not be measured without a GPU",
        ),
        memory=memory,
        flops=4.0 * batch * size * WIDTH,
    )


def measure_loss_and_queue(size: int, batch: int, *, turns: int, device: torch.device) -> Comparison:
    """What a step does with the queue, written plainly and by the trainer: loss, its gradient, enqueueing."""
    query, key, _ = _inputs(size, batch, device)
    patients = torch.arange(batch, device=device)
    indexed, trainer = IndexedQueue(size, device=device), KeyQueue(size, WIDTH, seed=0, device=device)

    def step(way: Loss, queue: IndexedQueue | KeyQueue) -> Tensor:
        (gradient,) = torch.autograd.grad(way(query, key, queue.keys), query)
        queue.enqueue(key, patients)
        return gradient

    variants = {PLAIN_ALL: partial(step, cloned, indexed), TRAINER_ALL: partial(step, _trainer, trainer)}
    for _ in range(2):
        gradients = [call() for call in variants.values()]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(indexed.keys, trainer.keys, rtol=0, atol=0)
    timings = time_variants(variants, turns=turns, device=device)
    memory = {name: peak_bytes(call, device) for name, call in variants.items()}
    return Comparison(
        title=f"loss and queue, queue {size:,}, batch {batch}",
        work=f"InfoNCE forward and backward, and enqueueing; width {WIDTH}",
        rate=float(batch),
        unit="queries",
        timings=timings,
        remarks=(_against(TRAINER_ALL, PLAIN_ALL, timings, memory),),
        memory=memory,
        flops=4.0 * batch * size * WIDTH,
    )


def cloned(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    """As in MoCo's own code: the queue is cloned, as it is overwritten before the backward pass, and the positive
    logit is put in front of the negative ones."""
    return _concatenated(query, key, queue.clone())


def _concatenated(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    logits = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ queue.T], dim=1) / TEMPERATURE  # (B, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def _split(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    positive = (query * key).sum(dim=1) / TEMPERATURE  # (B,)
    negative = query @ queue.T / TEMPERATURE  # (B, K)
    return (torch.logaddexp(positive, negative.logsumexp(dim=1)) - positive).mean()


def _trainer(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
    return info_nce(query, key, queue, temperature=TEMPERATURE).loss


def _inputs(size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised queries (B, D), which want a gradient, keys (B, D) and queue (K, D)."""
    generator = torch.Generator().manual_seed(0)
    query, key = (F.normalize(torch.randn(batch, WIDTH, generator=generator)).to(device) for _ in range(2))
    return query.requires_grad_(), key, KeyQueue(size, WIDTH, seed=0, device=device).keys


def _against(ours: str, other: str, timings: Mapping[str, Timing], memory: Mapping[str, int]) -> str:
    return (
        f"the trainer's: {timings[ours].speed:.1f} times as fast as {other}, "
        f"with {memory[ours] / memory[other]:.0%} of its peak memory"
    )


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Highest sum of tensors that one call holds at a time, above what there was before it.

    On a GPU as its allocator counts; on a CPU the running sum of what the profiler saw allocated and freed. What a
    library takes beside tensors, such as the packed operands of a matrix product, is in neither.
    """
    call()  # compilation, and buffers that stay
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = call()
    del kept
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    allocations = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = highest = 0
    for _, size in allocations:
        held += size
        highest = max(highest, held)
    return highest
