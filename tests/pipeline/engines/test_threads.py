from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.engines.samples import Samples, decode_gray
from pipeline.engines.threads import Decoder, KorniaEngine, place_padded, warp_on_device
from pipeline.plan import plan_batch
from pipeline.views import PRESETS
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, translation=0.2, blur=0.5)


def request_of(index, spec, count=6):
    passes = np.zeros(count, dtype=np.int64)
    return plan_batch(spec, rows=index.rows[:count], sizes=index.sizes()[:count], passes=passes, seed=0, num_views=2)


@pytest.mark.parametrize("fill", [30, "edge"])
def test_the_device_path_equals_the_cpu_path(tiny_dataset, fill):
    """What runs on a GPU, run here on the CPU, with its padding of images to one size."""
    index = ShardIndex.open(tiny_dataset)
    request = request_of(index, replace(SPEC, fill=fill))
    device = torch.device("cpu")
    engine = KorniaEngine(
        Decoder(Samples(index)), size=48, fill=fill, device=device, num_threads=2, batch_size=6, num_views=2
    )
    (expected,) = engine.run([request])
    engine.close()
    padded = np.empty((6, 80, 90), dtype=np.uint8)
    for i, row in enumerate(request.rows.tolist()):
        place_padded(decode_gray(index.read(row)), padded[i], fill)
    got = warp_on_device(torch.from_numpy(padded), request, np.arange(6), size=48, fill=fill)
    assert got.shape == expected.pixels.shape == (2, 6, 1, 48, 48)
    assert (got - expected.pixels).abs()[..., 2:-2, 2:-2].mean() * SPEC.std < 1 / 255


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_a_consumers_autocast_changes_no_view(tiny_dataset, blur):
    """Matrices in bf16 would put a view elsewhere."""
    index = ShardIndex.open(tiny_dataset)
    request = request_of(index, replace(SPEC, blur=blur))
    images = torch.from_numpy(np.stack([decode_gray(index.read(int(row))) for row in request.rows]))
    expected = warp_on_device(images, request, np.arange(6), size=48, fill=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        got = warp_on_device(images, request, np.arange(6), size=48, fill=0)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


def test_places_are_filled_from_where_skipping_says(tiny_dataset):
    index = ShardIndex.open(tiny_dataset)
    request = request_of(index, SPEC)
    images = torch.from_numpy(np.stack([decode_gray(index.read(int(row))) for row in request.rows]))
    taken = np.array([0, 1, 3, 3, 4, 5])
    got = warp_on_device(images[taken], request, taken, size=48, fill=0)
    expected = warp_on_device(images, request, np.arange(6), size=48, fill=0)
    torch.testing.assert_close(got, expected[:, taken])


def test_padding():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    out = np.empty((3, 5), dtype=np.uint8)
    place_padded(image, out, 9)
    assert out.tolist() == [[0, 1, 2, 9, 9], [3, 4, 5, 9, 9], [9, 9, 9, 9, 9]]
    place_padded(image, out, "edge")
    assert out.tolist() == [[0, 1, 2, 2, 2], [3, 4, 5, 5, 5], [3, 4, 5, 5, 5]]


def test_idle_threads_do_what_there_is_to_do(tiny_dataset):
    index, left = ShardIndex.open(tiny_dataset), [5]

    def spare():
        left[0] -= 1
        return left[0] > 0

    engine = KorniaEngine(
        Decoder(Samples(index)),
        size=48,
        fill=0,
        device=torch.device("cpu"),
        num_threads=1,
        batch_size=6,
        num_views=2,
        spare=spare,
    )
    for _ in engine.run(request_of(index, SPEC) for _ in range(3)):
        pass
    engine.close()
    assert left[0] <= 0
