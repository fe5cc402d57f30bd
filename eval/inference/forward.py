"""Images through a network, in their order and in the memory of a few batches: the next ones are read meanwhile.

Legend: B readable images of a batch, S side of a view, D width of what comes out.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from eval.inference.images import Given, GivenImages, Refused
from pipeline.device import find_device
from pipeline.encoded import encoded_views
from pipeline.upload import upload
from pipeline.views import ViewSpec
from shards.base.bar import Bar
from shards.base.errors import InputError
from shards.images.store import ImageSpec
from train.encoders.memory_format import in_fastest_format
from train.engine.memory import keep_freed_memory
from train.engine.precision import set_tf32

_Item = TypeVar("_Item")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A group of images in their order, and what the network makes of those that can be read: ``rows`` (B,) are their
    places in ``images``, ``values`` (B, D)."""

    images: list[Given]
    rows: list[int]
    values: Floats


def through(
    network: nn.Module,
    images: GivenImages,
    *,
    image: ImageSpec,
    views: ViewSpec | None,
    beside: Callable[[list[Given]], tuple[Tensor, ...]] | None = None,
    device: str,
    batch_size: int,
    workers: int,
    title: str,
) -> Iterator[Outcome]:
    """What the network makes of the images, in full precision, on GPUs too. Views are made on the CPU whatever the
    device, so that they are the same everywhere.

    Args:
        image, views: as of :class:`eval.classifier.kept.Kept`; no views: the network reads no images.
        beside: further inputs of images.
        title: of the progress bar.

    Raises:
        InputError: an absent device, or outputs that are not finite.
    """
    target = find_device(device, field="--device")
    keep_freed_memory()
    set_tf32("fp32")
    network = network.to(target).eval()
    groups = _groups(images.read(image, workers=workers), batch_size)

    def prepared() -> Iterator[tuple[list[Given | None], list[Given], Tensor | None]]:
        for group in groups:
            readable = [each for each in group if each is not None and not isinstance(each.stored, Refused)]
            stored = [each.stored for each in readable if isinstance(each.stored, bytes)]
            yield group, readable, encoded_views(stored, views) if views is not None and readable else None

    with Bar(total=len(images), desc=title, unit="img") as progress:
        for group, readable, made in _ahead(prepared()):
            values = np.empty((0, 0), dtype=np.float32)
            if readable:
                inputs = (None if made is None else in_fastest_format(upload(made, target), network),)
                more = () if beside is None else tuple(upload(each, target) for each in beside(readable))
                with torch.inference_mode():
                    values = network(*inputs, *more).float().cpu().numpy()
            if not np.isfinite(values).all():
                raise InputError("--model: what it gives is not finite; its training diverged, so give another one")
            found = [each for each in group if each is not None]
            rows = [number for number, each in enumerate(found) if not isinstance(each.stored, Refused)]
            yield Outcome(images=found, rows=rows, values=values)
            progress.update(len(group))


def _groups(images: Iterator[Given | None], size: int) -> Iterator[list[Given | None]]:
    """Groups of so many readable images; of ten times as many where most are not readable."""
    group: list[Given | None] = []
    num_readable = 0
    for each in images:
        group.append(each)
        num_readable += each is not None and not isinstance(each.stored, Refused)
        if num_readable == size or len(group) == 10 * size:
            yield group
            group, num_readable = [], 0
    if group:
        yield group


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items, the next of which is made while one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
