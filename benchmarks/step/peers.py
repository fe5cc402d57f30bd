"""What others have for the same work, in the same run: lightly's MoCo blocks, timm's moving average, loaders of views.

    make bench-peers                                 # installs those that the project does not depend on
    python -m benchmarks peers --quick
    python -m benchmarks peers --encoder resnet50 --queue 65536 --batch 256 --data DATASET

First of each table is MoCo's own code (facebookresearch/moco), or torchvision's transforms of PIL images. All are
checked to compute the same, or for loaders to give two views of each image, before they are timed; what a peer does
beyond that is said. A peer that is not installed is named and left out. The full table of loaders is ``loader``'s.

Expect on two CPU cores: lightly's and timm's momentum updates, which call multi-tensor kernels too, at a third of the
loop's time and ours below; loss and queue at two thirds of lightly's, which are as MoCo's; loaders several times as
fast; and a whole step hardly faster, as the network takes nearly all of it.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks.loader.feeds import DALI, KORNIA, Feed, Setting, check, consume
from benchmarks.loader.peers import DALI_CHAIN, KORNIA_SEQUENTIAL, REFERENCE, WEBDATASET
from benchmarks.measuring.data import build_phantom_dataset
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.settings import PeersConfig
from benchmarks.step.peer_blocks import compare_loss_and_queue, compare_momentum
from benchmarks.step.peer_step import compare_steps
from pipeline.device import find_device
from shards.base.facts import num_cores

_LOADERS = (REFERENCE, WEBDATASET, KORNIA_SEQUENTIAL, DALI_CHAIN)
_ENGINES = (DALI, KORNIA)


def run(config: PeersConfig) -> Iterator[Comparison]:
    """Measures the grid.

    Raises:
        InputError: the dataset has fewer images than a batch, or none is there.
    """
    if config.quick:
        config = replace(config, encoder=config.encoder[:1], queue=(4096,), batch=(64,), turns=3)
        config = replace(config, size=96, images=96, step_size=64, step_batch=16)
    device = find_device(config.device, field="--device")
    yield _compare_loaders(config)  # first: workers are forked before threads are started
    for name in config.encoder:
        yield compare_momentum(name, turns=config.turns, device=device)
    for size, batch in product(config.queue, config.batch):
        yield compare_loss_and_queue(size, batch, turns=config.turns, device=device)
    yield compare_steps(
        config.encoder[0], size=config.step_size, batch=config.step_batch, turns=config.turns, device=device
    )


def _compare_loaders(config: PeersConfig) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        data = config.data
        if data is None:
            height = 128 if config.quick else 320
            data = build_phantom_dataset(Path(folder), num_images=config.images, size=height)
        setting = Setting(
            data=data,
            num_images=config.images,
            views="moco_cxr",
            size=config.size,
            batch=min(128, config.images // 3),
            threads=num_cores(),
            device=config.device,
        )
        return _time_loaders(setting, turns=max(1, config.turns // 3))


def _time_loaders(setting: Setting, *, turns: int) -> Comparison:
    device, index = find_device(setting.device), setting.index()
    feeds = [feed for feed in (*_LOADERS, *_ENGINES) if feed.is_present]
    with ExitStack() as stack:
        variants: dict[str, Callable[[], object]] = {}
        for feed in feeds:
            one_pass = stack.enter_context(feed.open(setting))
            check(feed, one_pass(), setting, len(index))
            variants[_name(feed)] = lambda one_pass=one_pass: consume(one_pass(), device)  # type: ignore[misc]
        timings = time_variants(variants, turns=turns, device=device)
    comparison = Comparison(
        title=f"loaders of two {setting.size} px views, {setting.device}",
        work=f"{len(index):,} images, batch {setting.batch}, {setting.threads} threads or workers",
        rate=float(len(index)),
        unit="images",
        timings=timings,
    )
    return replace(comparison, remarks=tuple(_remarks(comparison)))


def _remarks(comparison: Comparison) -> Iterator[str]:
    for feed in _LOADERS:
        if _name(feed) not in comparison.timings:
            yield f"not measured: {feed.name} (not installed; make bench-peers installs it)"
    ours = [_name(feed) for feed in _ENGINES if _name(feed) in comparison.timings]
    others = [name for name in comparison.timings if name not in ours]
    best, other = (min(names, key=lambda name: comparison.timings[name].median) for names in (ours, others))
    yield f"{best} runs at {comparison.speedup(best, other):.1f} times the rate of the fastest peer, {other}"
    for name in ours:
        if comparison.speedup(name, other) < 1:
            yield f"{other} is faster than {name}: {comparison.speedup(other, name):.2f} times its rate"


def _name(feed: Feed) -> str:
    return f"{feed.name} (ours)" if feed in _ENGINES else feed.name
