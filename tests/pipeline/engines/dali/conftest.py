"""A DALI engine on small datasets, whose images can be damaged, and counts of how it was fed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.engines.contract import Request
from pipeline.engines.dali.engine import DaliEngine
from pipeline.engines.dali.feed import Feed
from pipeline.engines.samples import Samples
from pipeline.views import PRESETS, affines, sigmas, tones
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import draw_pattern

SIZE = 48
SPEC = replace(PRESETS["crop_contrast"], size=SIZE, area=(0.6, 1.0), rotation=20.0)
BLURRED = replace(SPEC, blur=0.5, sigma=(0.3, 2.0))
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset).where(split="train")


@pytest.fixture(scope="module")
def png_index(tmp_path_factory):
    """24 lossless images of 24 sizes."""
    folder = tmp_path_factory.mktemp("png")
    (folder / "source" / "train" / "all").mkdir(parents=True)
    for i in range(24):
        pattern = draw_pattern(i, has_blob=True, width=60 + 3 * i, height=120 - 2 * i)
        Image.fromarray(pattern).save(folder / "source" / "train" / "all" / f"{i:02d}.png")
    config = BuildConfig(
        source="folder", input=folder / "source", output=folder / "png", size=64, format="png", workers=1
    )
    build_dataset(config)
    return ShardIndex.open(folder / "png")


@pytest.fixture
def copied(tiny_dataset, tmp_path):
    """A copy to damage."""
    return ShardIndex.open(shutil.copytree(tiny_dataset, tmp_path / "copy", ignore=shutil.ignore_patterns("source")))


def damage(index, position, *, data=None):
    """Writes ``data`` over the start of an image, or flips a bit in its middle."""
    place = index.place(int(index.rows[position]))
    with place.tar.open("r+b") as file:
        if data is None:
            file.seek(place.offset + place.length // 2)
            data = bytes([file.read(1)[0] ^ 1])
            file.seek(place.offset + place.length // 2)
        else:
            file.seek(place.offset)
        file.write(data)


def requests(index, spec=SPEC, *, batch_size=8, num_views=2):
    sizes, address = index.sizes(), {"epoch": 3, "seed": 1}
    for start in range(0, len(index), batch_size):
        rows, these = index.rows[start : start + batch_size], sizes[start : start + batch_size]
        views = range(num_views)
        yield Request(
            rows=rows,
            sizes=these,
            matrices=np.stack([affines(spec, rows, these, view=view, **address) for view in views]),
            tones=np.stack([tones(spec, rows, view=view, **address) for view in views]),
            sigmas=np.stack([sigmas(spec, rows, view=view, **address) for view in views]),
        )


def build_engine(
    index, spec=SPEC, *, device="cpu", on_damage="error", checksums=True, sequential=False, batch_size=8, num_views=2
):
    return DaliEngine(
        Samples(index, on_damage=on_damage, checksums=checksums),
        size=spec.size,
        fill=spec.fill,
        device=torch.device(device, *([0] if device == "cuda" else [])),
        num_threads=2,
        batch_size=batch_size,
        num_views=num_views,
        has_blur=spec.blur > 0,
        sequential=sequential,
    )


def make_views(index, spec=SPEC, **options):
    return list(build_engine(index, spec, **options).run(requests(index, spec)))


def assert_same(some, others):
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
        assert torch.equal(a.pixels, b.pixels)


@pytest.fixture
def feeds(monkeypatch):
    """How many batches were fed by row and by DALI's reader."""
    counts = {"row": 0, "reader": 0}

    def counted(original, kind):
        def feed(self, batch):
            arrays = original(self, batch)
            counts[kind] += 1
            return arrays

        return feed

    monkeypatch.setattr(Feed, "_by_row", counted(Feed._by_row, "row"))
    monkeypatch.setattr(Feed, "_by_reader", counted(Feed._by_reader, "reader"))
    return counts
