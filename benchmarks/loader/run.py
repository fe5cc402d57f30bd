"""Two views an image from packed shards to the device: our engines, what others have, and the limit, side by side.

    python -m benchmarks loader                     # phantom images, drawn on the spot
    python -m benchmarks loader --data DATASET --size 224 320
    python -m benchmarks loader --quick

Expect on two CPU cores, two 224 px views, in images/s: torchvision's PIL transforms in workers 350, DALI's operators
450, the engines 2,400 (dali), 3,700 (kornia) and 8,000 (resident, from the second epoch on), decoding alone 7,000.

A call is one pass over the same images, from nothing in flight to nothing in flight; variants take turns in one
process. Waiting, memory and the first batch are measured in a fresh process for each variant.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.loader.child import measure_resources
from benchmarks.loader.feeds import (
    DALI,
    DECODING,
    FIRST_EPOCH,
    KORNIA,
    MOCO_V2,
    READING,
    RESIDENT,
    Feed,
    Setting,
    check,
    consume,
)
from benchmarks.loader.gpu import compare_beside_step
from benchmarks.loader.peers import DALI_CHAIN, KORNIA_SEQUENTIAL, LIGHTLY, NEAREST, PEERS, REFERENCE
from benchmarks.loader.scale import compare_epoch_starts, compare_threads
from benchmarks.loader.warps import compare_warps
from benchmarks.measuring.data import build_phantom_dataset
from benchmarks.measuring.resources import Resources, cpu_seconds
from benchmarks.measuring.result import Comparison, beside_target
from benchmarks.measuring.timing import time_variants
from benchmarks.settings import CHEXPERT_ROWS, LoaderConfig
from pipeline.device import find_device

_ENGINES = (DALI, KORNIA, FIRST_EPOCH, RESIDENT, MOCO_V2)
_LIMIT = DECODING
_PASS_GROWTH = 0.05  # of the memory after the first pass, beyond which it is called growing


def run(config: LoaderConfig) -> Iterator[Comparison]:
    """Measures all there is to compare on the device, of a resolved ``config``, one after another.

    Raises:
        InputError: no dataset is there, or one of fewer images than a batch.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = config.data or build_phantom_dataset(folder, num_images=config.images, size=320)
        settings = [
            Setting(
                data=data,
                num_images=config.images,
                views=config.views,
                size=size,
                batch=config.batch,
                threads=config.threads,
                device=config.device,
            )
            for size in config.size
        ]
        for setting in settings:
            yield _compare_feeds(setting, config)
        engines = [feed for feed in (DALI, KORNIA, RESIDENT) if not config.only or feed.name in config.only]
        for setting in settings:
            if config.device == "cuda":
                for engine in engines:
                    yield compare_beside_step([engine], setting, turns=config.turns)
            elif not config.only:
                yield compare_warps(setting, num_images=min(128, len(setting.index())), turns=config.turns)
        scaled = [feed for feed in ((KORNIA,) if config.quick else (KORNIA, DALI)) if feed in engines]
        yield from compare_threads(scaled, settings[0], turns=config.turns)
        if KORNIA in engines:
            yield compare_epoch_starts(settings[0], folder, num_rows=CHEXPERT_ROWS, turns=max(3, config.turns))


def choose_feeds(*, quick: bool, only: Sequence[str] = ()) -> list[Feed]:
    """Those whose packages are here; the reference first, and the limits last. Of ``only`` some engines, those and the
    limit."""
    peers: Sequence[Feed] = PEERS
    if quick:
        peers = (REFERENCE, KORNIA_SEQUENTIAL, DALI_CHAIN)
    feeds = (*peers, *_ENGINES, _LIMIT, READING)
    if only:
        feeds = (*(feed for feed in _ENGINES if feed.name in only), _LIMIT)
    return [feed for feed in feeds if feed.is_present]


def _compare_feeds(setting: Setting, config: LoaderConfig) -> Comparison:
    device = find_device(setting.device)
    index = setting.index()
    feeds = choose_feeds(quick=config.quick, only=config.only)
    with ExitStack() as stack:
        variants: dict[str, Callable[[], object]] = {}
        for feed in feeds:
            one_pass = stack.enter_context(feed.open(setting))
            # The first pass starts the workers, which are forked before any feed with threads is built.
            check(feed, one_pass(), setting, len(index))
            variants[feed.name] = lambda one_pass=one_pass: consume(one_pass(), device)  # type: ignore[misc]
        timings = time_variants(variants, turns=config.turns, device=device, cpu_clock=cpu_seconds)
    measured = [feed for feed in feeds if feed.has_resources]
    if config.quick and not config.only:
        measured = [REFERENCE, KORNIA]
    resources = {feed.name: measure_resources(feed, setting, consumer=config.consumer) for feed in measured}
    width, height = index.sizes().mean(axis=0)
    encoded = sum(len(index.read(row)) for row in index.rows.tolist()) / len(index) / 1e3
    comparison = Comparison(
        title=f"two {setting.size} px views ({setting.views}), device {setting.device}",
        work=f"{len(index):,} images of {width:.0f}x{height:.0f} px and {encoded:.0f} kB on average, batch "
        f"{setting.batch}, {setting.threads} threads or workers",
        rate=float(len(index)),
        unit="images",
        timings=timings,
        limit=_LIMIT.name,
        resources=resources,
    )
    remarks = _limit_remarks if config.only else _remarks
    return replace(comparison, remarks=tuple(remarks(comparison, setting)))


def _limit_remarks(comparison: Comparison, setting: Setting) -> Iterator[str]:
    """Of some engines alone."""
    engines = [feed.name for feed in _ENGINES if feed.name in comparison.timings]
    for name in engines:
        share = comparison.speedup(name, _LIMIT.name)
        yield f"{name} reaches {share:.0%} of decoding alone, by {setting.threads} threads"
    assert comparison.resources is not None
    best = min(engines, key=lambda name: comparison.timings[name].median)
    yield from _resource_remarks(comparison.resources, setting, best)


def _remarks(comparison: Comparison, setting: Setting) -> Iterator[str]:
    """What the figures come to, losses as well as wins, beside what was asked for."""
    reference, speedup = REFERENCE.name, comparison.speedup
    engines = [feed.name for feed in (DALI, KORNIA)]
    best = min(engines, key=lambda name: comparison.timings[name].median)
    resident, chain = RESIDENT.name, DALI_CHAIN.name
    gain = speedup(best, reference)
    asked = beside_target("8", is_met=gain >= 8)
    yield f"fastest engine that decodes: {best}, {gain:.1f} times the reference {asked}"
    nearest = NEAREST.name
    if nearest in comparison.timings:
        yield f"{best} is {speedup(best, nearest):.1f} times as fast as {nearest}"
    gain = speedup(best, _LIMIT.name)
    yield f"{best} reaches {gain:.0%} of decoding alone {beside_target('60 %', is_met=gain >= 0.6)}"
    gain = speedup("dali", chain)
    yield f"dali is {gain:.1f} times as fast as its operator chain {beside_target('2', is_met=gain >= 2)}"
    gain = speedup(resident, reference)
    asked = beside_target("20", is_met=gain >= 20)
    yield f"resident is {gain:.1f} times the reference after its first epoch {asked}"
    first = FIRST_EPOCH.name
    yield f"resident's first epoch, building included, runs at {speedup(first, best):.0%} of {best}'s rate"
    for peer in PEERS:
        if peer.name not in comparison.timings:
            reason = "left out of the quick form" if peer.is_present else "not installed"
            yield f"not measured: {peer.name} ({reason})"
        elif speedup(peer.name, best) > 1:
            yield f"{peer.name} is faster than {best}: {speedup(peer.name, best):.2f} times its rate"
    own, lightly = MOCO_V2.name, LIGHTLY.name
    if lightly in comparison.timings:
        yield f"{own}, run at {speedup(own, lightly):.1f} times the rate of {lightly}, which also makes MoCo v2's"
    assert comparison.resources is not None
    yield from _resource_remarks(comparison.resources, setting, best)


def _resource_remarks(resources: Mapping[str, Resources], setting: Setting, best: str) -> Iterator[str]:
    used = resources[best] if best in resources else next(iter(resources.values()))
    yield (
        f"waits: share of the time that a consumer of {used.consumer:,.0f} images/s waits; memory: what cannot be "
        "dropped, imports included; first batch: from building to it"
    )
    for name, one in resources.items():
        start, end = one.pass_megabytes[0], one.pass_megabytes[-1]
        if end > start * (1 + _PASS_GROWTH):
            yield f"memory of {name} grows over three passes, from {start:,.0f} to {end:,.0f} MB"
        if one.device_megabytes is not None:
            yield f"{name} uses {one.device_megabytes:,.0f} MB of the device, its context included"
        if name == best:
            figures = ", ".join(f"{megabytes:,.0f}" for megabytes in one.pass_megabytes)
            yield f"memory of {name} after each of three passes: {figures} MB"
