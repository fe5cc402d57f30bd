"""The hot path as a share of a whole training step. Part of ``python -m benchmarks hotpath``."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.hotpath.loss import TEMPERATURE, WIDTH, cloned
from benchmarks.hotpath.momentum import out_of_place_loop
from benchmarks.hotpath.queue import IndexedQueue
from benchmarks.measuring.data import build_phantom_dataset
from benchmarks.measuring.result import SHARE, Comparison
from benchmarks.measuring.timing import time_variants
from shards.index import ShardIndex
from train.methods.moco import MoCo
from train.methods.queue.info_nce import info_nce
from train.ranks.world import World, start_processes
from train.settings.config import EncoderConfig, MethodConfig, PretrainConfig, RunConfig, ScheduleConfig
from train.trainer import start_trainer

STEP, PLAIN, TRAINER = "whole step (trainer)", "hot path, written plainly", "hot path (trainer)"


def measure_share(
    *,
    encoder: Literal["resnet18", "resnet50", "densenet121"],
    size: int,
    batch: int,
    queue: int,
    turns: int,
    device: torch.device,
) -> Comparison:
    """Times momentum update, InfoNCE with its gradient and enqueueing together, beside the step they are part of."""
    world = World(rank=0, size=1, local_rank=0, device=device)
    start_processes(world)
    config = PretrainConfig(
        encoder=EncoderConfig(name=encoder),
        method=MethodConfig(queue_size=queue, embedding=WIDTH, temperature=TEMPERATURE),
        schedule=ScheduleConfig(name="constant"),
        run=RunConfig(batch_size=batch),
    )
    with tempfile.TemporaryDirectory() as folder:
        index = ShardIndex.open(build_phantom_dataset(Path(folder), num_images=batch, size=size))
        whole = start_trainer(config, index, world, batches_per_epoch=1)
        rows = torch.from_numpy(index.rows.copy())
    method = whole.method
    assert isinstance(method, MoCo)
    generator = torch.Generator().manual_seed(0)
    views = tuple(torch.randn(2, batch, 1, size, size, generator=generator).to(device))
    query, keys = (F.normalize(torch.randn(batch, WIDTH, generator=generator)).to(device) for _ in range(2))
    query.requires_grad_()
    patients = torch.arange(batch, device=device)
    followed = dict(method.model.named_parameters())
    sources = [followed[name].detach() for name, _ in method.target.named_parameters()]
    targets = [torch.nn.Parameter(source.clone(), requires_grad=False) for source in sources]
    indexed = IndexedQueue(queue, device=device)

    def reference() -> Tensor:
        out_of_place_loop(targets, sources)
        (gradient,) = torch.autograd.grad(cloned(query, keys, indexed.keys), query)
        indexed.enqueue(keys, patients)
        return gradient

    def trainer() -> Tensor:
        method.before_step(0.5)
        loss = info_nce(query, keys, method.negatives.keys, temperature=TEMPERATURE).loss
        (gradient,) = torch.autograd.grad(loss, query)
        method.negatives.enqueue(keys, patients)
        return gradient

    indexed.keys.copy_(method.negatives.keys)
    torch.testing.assert_close(trainer(), reference(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(method.negatives.keys, indexed.keys, rtol=0, atol=0)
    variants: dict[str, Callable[[], object]] = {
        STEP: lambda: whole.step(views, rows),
        PLAIN: reference,
        TRAINER: trainer,
    }
    timings = time_variants(variants, turns=turns, device=device)
    torch.distributed.destroy_process_group()
    return Comparison(
        title=f"{SHARE}, {encoder}, {size} px",
        work=f"MoCo v2, batch {batch}, queue {queue:,}; momentum update, InfoNCE with its gradient, enqueueing",
        rate=float(batch),
        unit="images",
        timings=timings,
        remarks=(
            f"momentum update, loss and queue: {1 / timings[TRAINER].speed:.1%} of the step; written plainly they "
            f"would take {timings[PLAIN].median - timings[TRAINER].median:.3f} s more, "
            f"{(1 / timings[PLAIN].speed - 1 / timings[TRAINER].speed):.1%} of the step",
        ),
        are_rivals=False,
    )
