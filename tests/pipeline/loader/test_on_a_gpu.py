"""The engines that make views on a GPU, on a device without content: what is where, what is waited for, what stays."""

import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.engines.dali.engine import DaliEngine
from pipeline.engines.samples import Samples
from pipeline.loader import build_loader
from pipeline.plan import plan_batch
from pipeline.views import PRESETS
from shards.index import ShardIndex
from tests.gpu.fake import DEVICE, FakeCuda

SPEC = replace(PRESETS["crop_contrast"], size=48, blur=0.5)


SLOW = pytest.mark.slow


def options(engine: str) -> dict[str, Any]:
    return {"batch_size": 16, "engine": engine, "device": DEVICE, "num_threads": 2}


@pytest.fixture
def index(tiny_dataset: Any) -> ShardIndex:
    """32 images."""
    return ShardIndex.open(tiny_dataset).where(split="test")


@pytest.mark.parametrize(
    ("engine", "fill"),
    [
        ("kornia", 30),
        ("resident", "edge"),
        *(
            pytest.param(engine, fill, marks=SLOW)
            for engine, fill in (("kornia", "edge"), ("kornia", 0), ("resident", 0))
        ),
    ],
)
def test_views_come_without_waiting(index: ShardIndex, engine: str, fill: Any) -> None:
    """Over two epochs, so that the second finds its pixels on the device; inside a consumer's autocast."""
    with FakeCuda() as cuda:
        loader = build_loader(index, replace(SPEC, fill=fill), **options(engine))
        with loader, cuda.watching(), torch.autocast("cuda", torch.bfloat16):
            batches = [*loader, *loader]
        assert len(batches) == 4
        for view in batches[-1].views:
            assert (view.device, view.dtype, view.shape) == (DEVICE, torch.float32, (16, 1, 48, 48))
    assert not cuda.found


@SLOW
@pytest.mark.parametrize("engine", ["kornia", "resident"])
def test_damaged_images_are_skipped_without_waiting(
    index: ShardIndex, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Samples.decode

    def decode(self: Samples, row: int, out: Any = None) -> Any:
        if row % 7 == 0:
            raise self.damaged(row, "is damaged")
        return sound(self, row, out)

    monkeypatch.setattr(Samples, "decode", decode)
    with FakeCuda() as cuda:
        loader = build_loader(index, SPEC, on_damage="skip", **options(engine))
        with loader, cuda.watching():
            batches = [*loader, *loader]
    assert loader.skipped.keys() == {int(row) for row in index.rows if row % 7 == 0}
    assert not {int(row) for batch in batches for row in batch.rows} & loader.skipped.keys()
    assert not cuda.found


def test_what_dali_has_warped_is_toned_without_waiting(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """DALI itself needs a GPU."""
    request = plan_batch(
        SPEC, rows=index.rows[:4], sizes=index.sizes()[:4], passes=np.zeros(4, dtype=np.int64), seed=0, num_views=2
    )
    shape: dict[str, Any] = {"size": 48, "fill": 0, "num_threads": 1, "batch_size": 8, "num_views": 2}
    with FakeCuda() as cuda:
        engine = DaliEngine(Samples(index), device=DEVICE, has_blur=True, **shape)
        warped = SimpleNamespace(as_tensor=lambda: torch.empty(8, 48, 48, 1, device=DEVICE))
        monkeypatch.setattr("pipeline.engines.dali.engine.from_dlpack", lambda tensor: tensor)
        with cuda.watching(), torch.autocast("cuda", torch.bfloat16):
            (views,) = engine._make_on_gpu(request, [warped, warped])
        assert (views.device, views.dtype, views.shape) == (DEVICE, torch.float32, (2, 4, 1, 48, 48))
    assert not cuda.found


def test_an_upload_that_is_not_pinned_is_found(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engines.warps.upload", lambda host, device: host.to(device, non_blocking=True))
    with FakeCuda() as cuda, build_loader(index, SPEC, **options("resident")) as loader, cuda.watching():
        next(iter(loader))
    assert all(what.startswith("an upload from memory that is not pinned") for what in cuda.found)
    assert cuda.found


def test_closing_gives_the_devices_memory_back(index: ShardIndex) -> None:
    """Without the collector of circles, which may come minutes later."""
    with FakeCuda():
        loader = build_loader(index, SPEC, **options("resident"))
        engine: Any = loader.engine
        pixels = weakref.ref(engine._store._pixels)
        batch = next(iter(loader))
        assert pixels() is not None
        loader.close()
        assert pixels() is None
        assert batch.views[0].shape == (16, 1, 48, 48)
