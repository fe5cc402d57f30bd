"""What the loader benchmark compares: a *feed* makes passes over the same images, batch by batch.

``B`` images a batch, ``S`` the view's side in pixels. A pass starts from nothing and ends with nothing in flight, so
that a feed that has had its turn neither disturbs the next one nor works ahead for its own next turn.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from pipeline.engines.contract import Rows
from pipeline.engines.samples import decode_gray
from pipeline.loader import build_loader
from pipeline.options import EngineName
from pipeline.views import PRESETS, ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The work that all feeds of a comparison are given."""

    data: Path
    """A packed dataset."""
    num_images: int
    """Its first images, this many at most, rounded down to whole batches."""
    views: str
    """One of :data:`pipeline.views.PRESETS`."""
    size: int
    """Side of the views in pixels."""
    batch: int
    """Images a batch."""
    threads: int
    """Threads, or worker processes."""
    device: str = "cpu"
    """Where the views are to arrive."""

    def index(self) -> ShardIndex:
        """The images.

        Raises:
            InputError: the dataset has fewer images than a batch.
        """
        index = ShardIndex.open(self.data)
        num_batches = min(len(index), self.num_images) // self.batch
        if not num_batches:
            raise InputError(f"--batch {self.batch}: more than the {len(index)} images of {self.data}; lower it")
        return index.take(range(num_batches * self.batch))

    @property
    def spec(self) -> ViewSpec:
        """The views, at the size asked for."""
        return replace(PRESETS[self.views], size=self.size)


Batch = Sequence[torch.Tensor]
"""The two views, each (B, 1, S, S) float32; empty for the limits, which make none."""
Pass = Callable[[], Iterator[Batch]]
"""Starts one pass over the images."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One variant: ``open`` builds it, and closes it at the end of the context."""

    name: str
    open: Callable[[Setting], AbstractContextManager[Pass]]
    modules: tuple[str, ...] = ()
    """What it imports beyond this benchmark; it takes part where all can be found."""
    makes_views: bool = True
    has_resources: bool = True
    """Whether waiting, memory and first batch are measured too."""

    @property
    def is_present(self) -> bool:
        """Whether its packages are installed."""
        return all(find_spec(module.partition(".")[0]) is not None for module in self.modules)


def consume(batches: Iterator[Batch], device: torch.device) -> int:
    """Takes all batches of a pass to the device, and returns the number of images that they had."""
    num_images = 0
    for views in batches:
        if views:
            num_images += len(views[0].to(device, non_blocking=True))
            for view in views[1:]:
                view.to(device, non_blocking=True)
    return num_images


def check(feed: Feed, batches: Iterator[Batch], setting: Setting, num_images: int) -> None:
    """Makes a first pass, and sees that it gives two views of the right shape and range of each image."""
    seen, means = 0, []
    for views in batches:
        if not feed.makes_views:
            continue
        assert len(views) == 2, feed.name
        for view in views:
            assert view.shape[1:] == (1, setting.size, setting.size), (feed.name, view.shape)
            assert view.dtype == torch.float32, (feed.name, view.dtype)
        means.append(float(views[0].mean()))
        seen += len(views[0])
    if feed.makes_views:
        assert seen == num_images, f"{feed.name}: {seen} of {num_images} images"
        low, high = -setting.spec.mean / setting.spec.std, (1 - setting.spec.mean) / setting.spec.std
        assert low < float(np.mean(means)) < high, (feed.name, means)


def engine_feed(engine: EngineName, *, name: str | None = None, views: str | None = None) -> Feed:
    """One of our engines; with ``views``, another preset than the setting's."""

    @contextmanager
    def opened(setting: Setting) -> Iterator[Pass]:
        spec = setting.spec if views is None else replace(PRESETS[views], size=setting.size)
        loader = build_loader(
            setting.index(),
            spec,
            batch_size=setting.batch,
            engine=engine,
            device=setting.device,
            num_threads=setting.threads,
        )
        with loader:
            yield lambda: (batch.views for batch in loader)

    modules = {"dali": ("nvidia.dali.fn", "pipeline.engines.dali.engine")}.get(engine, ("pipeline.engines.threads",))
    return Feed(name=name or engine, open=opened, modules=modules)


@contextmanager
def _first_epoch(setting: Setting) -> Iterator[Pass]:
    def one_pass() -> Iterator[Batch]:
        with RESIDENT.open(setting) as first:
            yield from first()

    yield one_pass


@contextmanager
def _decode(setting: Setting) -> Iterator[Pass]:
    """Threads decode into memory that is used again; nothing is made of the pixels."""
    index = setting.index()
    sizes = dict(zip(index.rows.tolist(), index.sizes().tolist(), strict=True))
    largest = int(index.sizes().prod(axis=1).max())
    parts = np.array_split(np.random.default_rng(0).permutation(index.rows), len(index) // min(32, setting.batch))
    scratch = threading.local()

    def decode_part(rows: Rows) -> Batch:
        if not hasattr(scratch, "pixels"):
            scratch.pixels = np.empty(largest, dtype=np.uint8)
        for row in rows.tolist():
            width, height = sizes[row]
            decode_gray(index.read(row), scratch.pixels[: height * width].reshape(height, width))
        return ()

    with ThreadPoolExecutor(setting.threads) as pool:
        yield lambda: pool.map(decode_part, parts)


@contextmanager
def _read(setting: Setting) -> Iterator[Pass]:
    """One thread copies the encoded bytes out of the mapped shards, in random order."""
    index = setting.index()
    rows = np.random.default_rng(0).permutation(index.rows).tolist()

    def one_pass() -> Iterator[Batch]:
        for row in rows:
            bytes(index.read(row))
        yield ()

    yield one_pass


KORNIA, DALI, RESIDENT = (engine_feed(engine) for engine in ("kornia", "dali", "resident"))
MOCO_V2 = engine_feed("kornia", name="kornia, moco_v2 views", views="moco_v2")
FIRST_EPOCH = Feed(
    name="resident, building and first epoch", open=_first_epoch, modules=RESIDENT.modules, has_resources=False
)
DECODING = Feed(name="limit: decoding alone", open=_decode, makes_views=False, has_resources=False)
READING = Feed(name="limit: reading bytes, one thread", open=_read, makes_views=False, has_resources=False)
