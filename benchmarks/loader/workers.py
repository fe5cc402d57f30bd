"""Peers of the loader that make views in worker processes: torchvision's transforms, lightly's, a webdataset stream.

Each is as its own documentation has it, for gray images and in its stronger form: one channel, as many workers as there
are cores, and no step that it does not need.
"""

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import io as torchvision_io
from torchvision import transforms
from torchvision.transforms import v2

from benchmarks.loader.feeds import Feed, Pass, Setting
from pipeline.views import ViewSpec
from shards.index import ShardIndex

Transform = Callable[[Image.Image], list[torch.Tensor]]


class _PilViews(Dataset[list[torch.Tensor]]):
    """Two views of each image, made by transforms of PIL images."""

    def __init__(self, index: ShardIndex, transform: Transform) -> None:
        self.index, self.transform = index, transform

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> list[torch.Tensor]:
        image = Image.open(io.BytesIO(self.index.read(int(self.index.rows[position])))).convert("L")
        return self.transform(image)


def _workers(setting: Setting, transform: Transform) -> Pass:
    loader = DataLoader(
        _PilViews(setting.index(), transform),
        batch_size=setting.batch,
        shuffle=True,
        num_workers=setting.threads,
        persistent_workers=True,
        pin_memory=setting.device == "cuda",
    )
    return lambda: iter(loader)


@contextmanager
def _torchvision(setting: Setting) -> Iterator[Pass]:
    """MoCo-CXR's steps at the quality of this project's views: turned at full resolution and interpolated."""
    spec = setting.spec
    steps = [
        transforms.RandomHorizontalFlip(spec.flip),
        transforms.RandomRotation(spec.rotation, interpolation=transforms.InterpolationMode.BILINEAR),
        transforms.Resize(spec.size),
        transforms.RandomCrop(spec.size),
    ]
    yield _workers(setting, _twice(steps, spec))


@contextmanager
def _torchvision_nearest(setting: Setting) -> Iterator[Pass]:
    """MoCo-CXR's steps as its code has them: made small first, and turned by taking the nearest pixel, which costs
    less than half and leaves jagged edges. The code also makes three channels of each image; here it is spared that."""
    spec = setting.spec
    steps = [
        transforms.Resize(spec.size),
        transforms.RandomHorizontalFlip(spec.flip),
        transforms.RandomRotation(spec.rotation),
        transforms.RandomCrop(spec.size),
    ]
    yield _workers(setting, _twice(steps, spec))


def _twice(steps: Sequence[Any], spec: ViewSpec) -> Transform:
    one = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize([spec.mean], [spec.std])])
    return lambda image: [one(image), one(image)]


@contextmanager
def _lightly(setting: Setting) -> Iterator[Pass]:
    """lightly's MoCo v2 views: more work a view than rotation and crop, as they are also jittered and blurred."""
    from lightly.transforms import MoCoV2Transform

    normalize = {"mean": [setting.spec.mean], "std": [setting.spec.std]}
    yield _workers(setting, MoCoV2Transform(input_size=setting.size, normalize=normalize))


@contextmanager
def _webdataset(setting: Setting) -> Iterator[Pass]:
    """A stream of tars, shuffled in a buffer, decoded by torchvision, with torchvision's transforms of tensors."""
    import webdataset as wds

    spec = setting.spec
    one = v2.Compose(
        [
            v2.Resize(spec.size, antialias=True),
            v2.RandomHorizontalFlip(spec.flip),
            v2.RandomRotation(spec.rotation, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomCrop(spec.size),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([spec.mean], [spec.std]),
        ]
    )

    def make_views(sample: dict[str, Any]) -> list[torch.Tensor]:
        encoded = torch.frombuffer(bytearray(sample["image"]), dtype=torch.uint8)
        image = torchvision_io.decode_image(encoded, mode=torchvision_io.ImageReadMode.GRAY)
        return [one(image), one(image)]

    with tempfile.TemporaryDirectory() as folder:
        tars = _write_tars(setting.index(), Path(folder), setting.threads)
        stream = wds.WebDataset(tars, shardshuffle=len(tars)).shuffle(1000).map(make_views)
        stream = stream.batched(setting.batch, collation_fn=torch.utils.data.default_collate, partial=True)
        loader = wds.WebLoader(stream, batch_size=None, num_workers=setting.threads, persistent_workers=True)
        yield lambda: iter(loader)


def _write_tars(index: ShardIndex, folder: Path, num_tars: int) -> list[str]:
    """The images in as many tars as there are workers, since a tar is read by one."""
    paths = [str(folder / f"{number:03d}.tar") for number in range(num_tars)]
    for path, rows in zip(paths, np.array_split(index.rows, num_tars), strict=True):
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows.tolist():
                data = index.read(row)
                member = tarfile.TarInfo(f"{row:09d}.image")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return paths


REFERENCE = Feed(name="torchvision PIL workers", open=_torchvision)
NEAREST = Feed(name="torchvision PIL workers, nearest pixel", open=_torchvision_nearest)
LIGHTLY = Feed(name="lightly MoCo v2 workers", open=_lightly, modules=("lightly.transforms",))
WEBDATASET = Feed(name="webdataset, torchvision workers", open=_webdataset, modules=("webdataset",))
