"""Two views an image from packed shards: the engines side by side, and what a plain torchvision loader does.

    python -m benchmarks loader --data DATASET --size 64

Expect on two CPU cores, 128 px gray JPEGs to two 64 px views: Kornia's engine (OpenCV warp) at 5,000-6,000 images/s,
DALI at half of that, torchvision/PIL transforms in DataLoader workers at a tenth.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.measure import time_variants
from benchmarks.result import Comparison
from pipeline.loader import build_loader
from pipeline.views import PRESETS, ViewSpec
from shards.errors import InputError
from shards.index import ShardIndex


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """Which dataset and views are measured."""

    data: Path
    """A packed dataset."""
    views: str = "moco_cxr"
    """View preset."""
    size: int = 64
    """Side of the views in pixels."""
    batch: int = 128
    """Images a batch."""
    images: int = 2048
    """Images a turn; at most the dataset's."""
    turns: int = 7
    """Turns each variant is timed."""
    device: str = "cpu"
    """cpu or cuda."""


def run(config: LoaderConfig) -> list[Comparison]:
    """Measures one turn of ``images`` for each variant, its first batch included."""
    if config.views not in PRESETS:
        raise InputError(f"--views {config.views}: unknown; known presets: {', '.join(PRESETS)}")
    device = torch.device(config.device)
    spec = replace(PRESETS[config.views], size=config.size)
    index = ShardIndex.open(config.data)
    index = index.take(range(min(len(index), config.images)))
    num_images = len(index) // config.batch * config.batch
    peer = iter_forever(_torchvision_loader(index, spec, config.batch))
    variants: dict[str, Callable[[], object]] = {
        "torchvision PIL workers": lambda: [next(peer) for _ in range(num_images // config.batch)]
    }
    for engine in ("dali", "kornia"):
        loader = build_loader(index, spec, batch_size=config.batch, engine=engine, device=device)
        variants[engine] = lambda loader=loader: [batch.rows for batch in loader]  # type: ignore[misc]
    width, height = index.sizes().mean(axis=0)
    return [
        Comparison(
            title=f"two {config.size} px views ({config.views})",
            work=f"{num_images:,} images of {width:.0f}x{height:.0f} px on average, batch {config.batch}",
            rate=float(num_images),
            unit="images",
            timings=time_variants(variants, turns=config.turns, device=device),
        )
    ]


class _PilViews(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The same operations as separate torchvision steps on PIL images, as most projects have them."""

    def __init__(self, index: ShardIndex, spec: ViewSpec) -> None:
        self.index = index
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(spec.flip),
                transforms.RandomRotation(spec.rotation, interpolation=transforms.InterpolationMode.BILINEAR),
                transforms.RandomResizedCrop(spec.size, scale=spec.area, ratio=spec.ratio, antialias=True),
                transforms.ToTensor(),
                transforms.Normalize([spec.mean], [spec.std]),
            ]
        )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = Image.open(io.BytesIO(self.index.read(int(self.index.rows[position])))).convert("L")
        return self.transform(image), self.transform(image)


def _torchvision_loader(index: ShardIndex, spec: ViewSpec, batch_size: int) -> DataLoader[Any]:
    return DataLoader(
        _PilViews(index, spec),
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=torch.get_num_threads(),
        persistent_workers=True,
    )


def iter_forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """Batches of one epoch after another; workers stay."""
    while True:
        yield from loader
