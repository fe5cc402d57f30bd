"""Ranks on one machine: what a step takes, what of it is exchange, and what more nodes should give.

    python -m benchmarks scaling                                     # 1, 2 and 4 ranks, gloo on the CPU
    python -m benchmarks scaling --device cuda --size 320 --batch 256 --network 100
    python -m benchmarks scaling --compute 0.09 --inside 1000 --size 320 --batch 256 --encoder resnet50

Each rank has its own batch, as in training, and all rank counts have as many threads a rank. They take turns: the
processes of all of them are there at once, and wait while the others step. Before they are timed, weights, key encoder
and queue are compared across the ranks. Views are ready-made: what a loader gives is ``loader``'s to say.

The model (:mod:`benchmarks.scaling.model`) is given one rank's step and the exchanges by themselves on the fewest
ranks above one, and predicts all else; its error is shown for what was measured.

Expect on two hyperthreads of one core, with other jobs beside: all ranks together at the images/s of one, since they
share the core; exchange at 5 to 10 % of a ResNet18 step of 32 images of 128 px.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from benchmarks.measuring.result import Comparison, Timing
from benchmarks.measuring.timing import time_variants
from benchmarks.scaling.child import EXCHANGES, WAIT
from benchmarks.scaling.model import FREE, Link, Prediction, Sizes, fit_link, predict
from benchmarks.scaling.ranks import Ranks, start_ranks
from benchmarks.settings import CHEXPERT_ROWS, ScalingConfig
from shards.base.facts import num_cores
from train.encoders.build import build_encoder
from train.settings.config import MethodConfig

_GIGABIT = 1e9 / 8  # bytes


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the ranks said: a step's seconds by part, of each number of ranks, averaged over the ranks; and the
    exchanges by themselves, of each number above one.

    One rank has an exchange too, as DeepSpeed packs its gradients and unpacks them: what counts is the time beyond.
    """

    parts: Mapping[int, Mapping[str, float]]
    exchanges: Mapping[int, Mapping[str, float]]

    def compute(self, num_ranks: int) -> float:
        """Seconds of a step without exchange and waiting."""
        parts = self.parts[num_ranks]
        return sum(parts.values()) - parts[WAIT] - self.exchange(num_ranks)

    def exchange(self, num_ranks: int) -> float:
        """Seconds that a step exchanges, beyond what one rank does for itself."""
        return sum(self.parts[num_ranks][name] - self.parts[1][name] for name in EXCHANGES)


def run(config: ScalingConfig) -> Iterator[Comparison]:
    """Measures and predicts what a resolved ``config`` asks for.

    Raises:
        RuntimeError: a rank failed; the message ends as its standard error does.
    """
    setting = {name: getattr(config, name) for name in ("encoder", "size", "batch", "queue", "threads")}
    with ExitStack() as stack:
        groups = {
            number: stack.enter_context(start_ranks(number, setting, device=config.device)) for number in config.ranks
        }
        for group in groups.values():
            group.tell("check", 2)
        variants = {_name(number): lambda group=group: group.tell("steps", 1) for number, group in groups.items()}
        # A group answers when its devices are done, so there is nothing to synchronise here.
        timings = time_variants(variants, turns=config.turns, device=torch.device("cpu"))
        measured = _measure_parts(groups, config.turns)
    comparison = Comparison(
        title=f"pretraining step on ranks, {config.encoder}, {config.size} px, {config.device}",
        work=f"MoCo v2, batch {config.batch} and {config.threads} thread(s) a rank, queue {config.queue:,}",
        rate=float(config.batch),
        unit="img/rank",
        are_rivals=False,
        timings=timings,
    )
    yield replace(comparison, remarks=tuple(_remarks(config, timings, measured)))


def _name(number: int) -> str:
    return f"{number} rank" if number == 1 else f"{number} ranks"


def _measure_parts(groups: Mapping[int, Ranks], turns: int) -> Measured:
    parts, exchanges = {}, {}
    for number, group in groups.items():
        each = group.tell("clocked", turns)
        parts[number] = {part: sum(rank[part] for rank in each) / number for part in each[0]}
        if number > 1:
            exchanges[number] = group.tell("exchanges", 2 * turns)[0]
    return Measured(parts=parts, exchanges=exchanges)


def _remarks(config: ScalingConfig, timings: Mapping[str, Timing], measured: Measured) -> Iterator[str]:
    """What the ranks reach, the model's error, and what it predicts."""
    many = [number for number in config.ranks if number > 1]
    one = timings[_name(1)].median
    sizes, link = _sizes_and_link(config, measured)
    for number in many:
        taken = timings[_name(number)]
        parts = measured.parts[number]
        total = sum(parts.values())
        shares = ", ".join(f"{name} {parts[name] / total:.1%}" for name in (*EXCHANGES, WAIT))
        yield (
            f"{number} ranks: {number * config.batch / taken.median:,.1f} images/s in all, {taken.speed:.0%} of "
            f"{number} times one rank's; of a step synchronised at each part: {shares} (packing gradients included, "
            f"{measured.parts[1]['gradient exchange'] / total:.1%})"
        )
    for number in many:
        expected = predict(number, compute=one, sizes=sizes, link=link, sharing=_sharing(config, number))
        yield _error(number, expected, one=one, taken=timings[_name(number)].median, measured=measured)
    crowded = [number for number in many if _sharing(config, number) > 1]
    if crowded:
        yield (
            f"{' and '.join(map(str, crowded))} ranks share {num_cores()} cores, so that they compute in turns and no "
            "more than the cores can: this measures exchange, not scaling"
        )
    if many:
        yield (
            f"exchanges by themselves on {many[0]} ranks: {1e6 * link.latency:,.0f} us a hop, all-gather "
            f"{link.gather / 1e9:.2f} GB/s, all-reduce {link.reduce / 1e9:.2f} GB/s"
        )
    else:
        yield "exchanges were not measured, with ranks for one device only: inside a node they are taken to be free"
    yield from _predictions(config, one, sizes=sizes, link=link)


def _sharing(config: ScalingConfig, number: int) -> float:
    return max(1.0, number * config.threads / num_cores()) if config.device == "cpu" else 1.0


def _sizes_and_link(config: ScalingConfig, measured: Measured) -> tuple[Sizes, Link]:
    embedding = MethodConfig().embedding
    if not measured.exchanges:
        encoder = build_encoder(config.encoder)
        features = int(encoder.num_features)  # type: ignore[arg-type]
        heads = features * features + features + features * embedding + embedding
        num_parameters = sum(p.numel() for p in encoder.parameters()) + heads
    else:
        num_parameters = round(next(iter(measured.exchanges.values()))["num_parameters"])
    sizes = Sizes.of(batch=config.batch, pixels=config.size, embedding=embedding, num_parameters=num_parameters)
    if not measured.exchanges:
        return sizes, FREE
    fewest = min(measured.exchanges)
    found = measured.exchanges[fewest]
    return sizes, fit_link(fewest, tiny=found["tiny"], gather=found["gather"], reduce=found["reduce"], sizes=sizes)


def _error(number: int, expected: Prediction, *, one: float, taken: float, measured: Measured) -> str:
    exchange = measured.exchange(number)
    slowed = measured.compute(number) / measured.compute(1)
    told = slowed * one + expected.exchange
    return (
        f"{number} ranks: the model says {1e3 * expected.step:,.1f} ms a step, measured {1e3 * taken:,.1f} (error "
        f"{expected.step / taken - 1:+.0%}); of it exchange {1e3 * expected.exchange:,.1f} ms, measured "
        f"{1e3 * exchange:,.1f} ({expected.exchange / exchange - 1:+.0%}); a rank computed for {slowed:.2f} times as "
        f"long as one by itself, and told so the model's error is {told / taken - 1:+.0%}"
    )


def _predictions(config: ScalingConfig, one: float, *, sizes: Sizes, link: Link) -> Iterator[str]:
    compute = config.compute or one
    inside = (
        link
        if not config.inside
        else Link(latency=link.latency, gather=config.inside * _GIGABIT, reduce=config.inside * _GIGABIT)
    )
    told = "as given" if config.compute else "as measured here"
    yield (
        f"predictions are for nodes x ranks a node, each on a device of its own, from {1e3 * compute:,.1f} ms a step "
        f"of one rank ({told}), and for an epoch of CheXpert's {CHEXPERT_ROWS:,} images"
    )
    ways = {inside.through(network * _GIGABIT): network for network in sorted(config.network, reverse=True)}
    fastest = next(iter(ways))
    for nodes in config.nodes:
        for gpus in config.gpus:
            # Networks faster than the inside are one.
            for way, network in reversed(ways.items()) if nodes > 1 else [(inside, 0.0)]:
                found = predict(nodes * gpus, compute=compute, sizes=sizes, link=way)
                rate = nodes * gpus * config.batch / found.step
                is_all = network < max(config.network) and way == fastest
                across = f" at {network:g} Gbit/s{' or more' if is_all else ''}"
                yield (
                    f"predicted, {nodes} x {gpus}{across if nodes > 1 else ''}: {rate:,.0f} images/s, an epoch in "
                    f"{CHEXPERT_ROWS / rate / 60:,.1f} min, exchange {found.exchange / found.step:.0%} of a step"
                )
