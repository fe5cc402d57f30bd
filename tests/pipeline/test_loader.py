import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.decode import DecodeError, decode_gray
from pipeline.loader import build_loader
from pipeline.views import PRESETS, ViewSpec, affines
from shards.errors import InputError
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0))
ENGINES = ["kornia", "dali"]


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset).where(split="train")


def warp_reference(pixels, matrix, size, fill=0):
    """Bilinear warp by the inverse matrix in float64, continuous coordinates, pixel by pixel."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    out = np.empty((size, size))
    padded = np.pad(pixels.astype(np.float64), 1, constant_values=fill)
    for y in range(size):
        for x in range(size):
            u, v = (inverse @ [x + 0.5, y + 0.5, 1])[:2] + 0.5  # +1 for the padding, -0.5 for the centre
            u, v = np.clip(u, 0, padded.shape[1] - 1.001), np.clip(v, 0, padded.shape[0] - 1.001)
            i, j, a, b = int(v), int(u), v % 1, u % 1
            box = padded[i : i + 2, j : j + 2]
            out[y, x] = np.array([1 - a, a]) @ box @ np.array([1 - b, b])
    return out


@pytest.mark.parametrize("engine", ENGINES)
def test_views_match_the_reference_warp(index, engine):
    spec = replace(SPEC, brightness=0, contrast=0)
    with build_loader(index, spec, batch_size=8, engine=engine, seed=5) as loader:
        batch = next(iter(loader))
    for view in range(2):
        matrices = affines(spec, batch.rows.numpy(), sizes_of(index, batch.rows), epoch=0, seed=5, view=view)
        for i in range(3):
            row = int(batch.rows[i])
            expected = warp_reference(decode_gray(index.read(row), row), matrices[i], spec.size)
            got = (batch.views[view][i, 0].double() * spec.std + spec.mean).numpy() * 255
            difference = np.abs(got - expected)[2:-2, 2:-2]
            assert difference.mean() < 1.0, engine  # 1/255 of full scale


def sizes_of(index, rows):
    return index.take(np.searchsorted(index.rows, rows.numpy())).sizes()


def test_engines_agree(index):
    first = {}
    for engine in ENGINES:
        with build_loader(index, SPEC, batch_size=16, engine=engine) as loader:
            first[engine] = next(iter(loader))
    assert torch.equal(first["kornia"].rows, first["dali"].rows)
    for a, b in zip(first["kornia"].views, first["dali"].views, strict=True):
        assert (a - b).abs().mean() * SPEC.std < 1 / 255


def test_kornia_warp_equals_opencv_warp(index):
    """The GPU path's warp, run here on the CPU, against the CPU path's."""
    from pipeline.kornia_views import warp_kornia, warp_opencv
    from pipeline.views import shift_half_pixel

    rows = index.rows[:6]
    pixels = np.stack([decode_gray(index.read(int(row)), int(row)) for row in rows])
    matrices = shift_half_pixel(affines(SPEC, rows, index.sizes()[:6], epoch=0, seed=0, view=0))
    warped = warp_kornia(
        torch.from_numpy(pixels)[:, None].float(), torch.from_numpy(matrices).float(), size=48, fill=30
    )
    expected = np.empty((6, 48, 48), dtype=np.uint8)
    for i in range(6):
        warp_opencv(pixels[i], matrices[i], expected[i], fill=30)
    assert np.abs(warped.numpy() - expected)[:, 2:-2, 2:-2].mean() < 1.0


@pytest.mark.parametrize("engine", ENGINES)
def test_restored_in_mid_epoch_the_rest_is_bit_identical(index, engine):
    with build_loader(index, SPEC, batch_size=8, engine=engine, seed=2) as loader:
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state = loader.state_dict()
        rest = list(batches) + list(loader)  # what is left, and the next epoch
    with build_loader(index, SPEC, batch_size=8, engine=engine, seed=2, num_threads=1) as loader:
        loader.load_state_dict(state)
        again = list(loader) + list(loader)
        assert loader.state_dict() == {"seed": 2, "epoch": 2, "position": 0}
    assert len(again) == len(rest) == 5 + 8
    for a, b in zip(rest, again, strict=True):
        assert torch.equal(a.rows, b.rows)
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))


def test_a_row_gets_the_same_views_on_any_rank_and_batch_size(index):
    def views(**options):
        with build_loader(index, SPEC, seed=4, **options) as loader:
            return {int(row): view for batch in loader for row, view in zip(batch.rows, batch.views[1], strict=True)}

    alone, shared = views(batch_size=16), views(batch_size=4, rank=1, world_size=2)
    assert len(shared) == 32
    assert all(torch.equal(view, alone[row]) for row, view in shared.items())


def test_every_row_once_without_shuffle(index):
    with build_loader(index, SPEC.evaluation(), batch_size=30, num_views=1, shuffle=False, drop_last=False) as loader:
        rows = torch.cat([batch.rows for batch in loader])
        assert len(loader) == 3
    np.testing.assert_array_equal(rows.numpy(), index.rows)


def test_waiting_is_measured(index):
    with build_loader(index, SPEC, batch_size=16, engine="kornia") as loader:
        for _ in loader:
            time.sleep(0.05)
        patient = loader.wait_seconds
        for _ in loader:
            pass
    assert patient > 0
    assert loader.wait_seconds > patient


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 65}, "batch size 65"),
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": 4, "engine": "ffcv"}, "engine 'ffcv'"),
        ({"batch_size": 4, "device": "cuda"}, "no CUDA device"),
    ],
)
def test_wrong_settings_are_named(index, options, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(InputError, match=message):
        build_loader(index, SPEC, **options)


def test_empty_selection_is_refused(index):
    with pytest.raises(InputError, match="selects no image"):
        build_loader(index.where(split="valid"), SPEC, batch_size=4)


def test_seed_of_another_order_is_refused(index):
    with (
        build_loader(index, SPEC, batch_size=8, seed=1) as loader,
        pytest.raises(InputError, match="saved order has seed 2"),
    ):
        loader.load_state_dict({"seed": 2, "epoch": 0, "position": 0})


def test_aliasing_is_warned_of(index):
    with pytest.warns(UserWarning, match="pack with --size 20"):
        build_loader(index, ViewSpec(size=16), batch_size=4).close()


@pytest.mark.parametrize("data", [b"\xff\xd8\xff\xe0garbage", b"nothing of an image"])
def test_a_damaged_image_is_named_by_its_row(data):
    with pytest.raises(DecodeError, match="row 41"):
        decode_gray(memoryview(data), 41)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_engines_on_the_gpu_agree_with_the_cpu(index):
    with build_loader(index, SPEC, batch_size=16, engine="kornia") as loader:
        expected = next(iter(loader))
    for engine in ENGINES:
        with build_loader(index, SPEC, batch_size=16, engine=engine, device="cuda") as loader:
            batch = next(iter(loader))
        for a, b in zip(batch.views, expected.views, strict=True):
            assert a.is_cuda
            assert (a.cpu() - b)[..., 2:-2, 2:-2].abs().mean() * SPEC.std < 1 / 255
