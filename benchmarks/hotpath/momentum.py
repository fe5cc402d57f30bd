"""The momentum update of the key encoder, in all the ways it is written. Part of ``python -m benchmarks hotpath``.

Bytes a second are of 12 bytes a parameter: key and query are read, the key is written, all in fp32. The copy of the
query into one buffer, the limit measured in the same run, reads 4 and writes 4 of them, and is credited with those 8.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring.result import Comparison, Timing
from benchmarks.measuring.timing import time_variants
from train.encoders.build import build_encoder
from train.methods.momentum.update import MomentumUpdate

MOMENTUM = 0.999
LOOP, TRAINER, COPY = "out-of-place loop", "_foreach_lerp_ (trainer)", "copy of the query"
FLAT, GRAPH = "one flat buffer, lerp_", "_foreach_lerp_, CUDA graph"

Update = Callable[[list[Tensor], list[Tensor]], None]


def measure_momentum(encoder: str, *, turns: int, device: torch.device, compiles: bool) -> Comparison:
    """Checks that every variant gives what the out-of-place loop gives, and times them."""
    query = [p.detach() for p in build_encoder(encoder).to(device).parameters()]
    start = [torch.rand_like(p) for p in query]
    ways: dict[str, Update] = {
        LOOP: out_of_place_loop,
        "in-place loop": _in_place_loop,
        "_foreach_mul_, _foreach_add_": _multiply_add,
    }
    if compiles:
        torch.compiler.reset()  # a function compiled for many encoders is no longer compiled, silently
        ways["_foreach_lerp_, compiled"] = torch.compile(_multi_tensor, dynamic=False)
    keys: dict[str, list[Tensor]] = {name: [k.clone() for k in start] for name in (*ways, TRAINER)}
    flat_query, flat_key = _flat(query), _flat(start)
    keys[FLAT] = _views(flat_key, start)
    follow = MomentumUpdate(keys[TRAINER], query)
    variants: dict[str, Callable[[], object]] = {name: partial(way, keys[name], query) for name, way in ways.items()}
    variants[TRAINER] = lambda: follow(MOMENTUM)
    variants[FLAT] = lambda: flat_key.lerp_(flat_query, 1 - MOMENTUM)
    if device.type == "cuda":
        keys[GRAPH] = [k.clone() for k in start]
        variants[GRAPH] = _captured(keys[GRAPH], query)
    for name, call in variants.items():
        call()
        for key, before, source in zip(keys[name], start, query, strict=True):
            torch.testing.assert_close(key, MOMENTUM * before + (1 - MOMENTUM) * source, msg=name_in(name))
    landing = torch.empty_like(flat_query)
    variants[COPY] = lambda: landing.copy_(flat_query)

    timings = time_variants(variants, turns=turns, device=device)
    num_parameters = len(flat_query)
    return Comparison(
        title=f"momentum update, {encoder}",
        work=f"{num_parameters:,} fp32 parameters in {len(query)} tensors",
        rate=num_parameters / 1e6,
        unit="M parameters",
        timings=timings,
        remarks=tuple(_remarks(timings, num_parameters, device)),
    )


def out_of_place_loop(keys: Sequence[Tensor], query: Sequence[Tensor]) -> None:
    """The update as MoCo's and most other code has it: three new tensors a parameter."""
    for k, q in zip(keys, query, strict=True):
        k.data = k.data * MOMENTUM + q.data * (1 - MOMENTUM)


def name_in(variant: str) -> Callable[[str], str]:
    """Puts the variant's name in front of what a failed comparison says."""
    return lambda message: f"{variant}: {message}"


def _in_place_loop(keys: Sequence[Tensor], query: Sequence[Tensor]) -> None:
    for k, q in zip(keys, query, strict=True):
        k.mul_(MOMENTUM).add_(q, alpha=1 - MOMENTUM)


def _multiply_add(keys: list[Tensor], query: list[Tensor]) -> None:
    torch._foreach_mul_(keys, MOMENTUM)
    torch._foreach_add_(keys, query, alpha=1 - MOMENTUM)


def _multi_tensor(keys: list[Tensor], query: list[Tensor]) -> None:
    torch._foreach_lerp_(keys, query, 1 - MOMENTUM)


def _captured(keys: list[Tensor], query: list[Tensor]) -> Callable[[], object]:
    """One launch for all kernels of the multi-tensor update; the momentum is fixed when it is captured."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # recorded, not run
        _multi_tensor(keys, query)
    return graph.replay


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.split([t.numel() for t in like])
    return [part.view_as(t) for part, t in zip(parts, like, strict=True)]


def _remarks(timings: dict[str, Timing], num_parameters: int, device: torch.device) -> list[str]:
    trainer, copied = (num_parameters / 1e9 / timings[name].median for name in (TRAINER, COPY))
    remarks = [
        f"the trainer's update: {timings[TRAINER].speed:.1f} times as fast as the out-of-place loop; at 12 bytes "
        f"a parameter {12 * trainer:.1f} GB/s, {1.5 * trainer / copied:.0%} of the copy's {8 * copied:.1f} GB/s at 8",
        "a processor that reads a line of memory before it writes it moves 12 bytes for the copy too: of that, the "
        f"update's rate is {trainer / copied:.0%}",
    ]
    if device.type == "cpu":
        remarks.append("CUDA graph: not run here, no GPU")
    return remarks
