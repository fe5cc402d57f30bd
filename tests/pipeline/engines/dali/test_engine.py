"""Views against a reference in float64, and what is damaged on the way there."""

import gc
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.engines.samples import DamagedSample, Samples, decode_gray
from tests.pipeline.engines.dali.conftest import (
    BLURRED,
    DEVICES,
    SIZE,
    SPEC,
    assert_same,
    build_engine,
    damage,
    make_views,
    requests,
)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "spec",
    [SPEC, replace(SPEC, fill=70), replace(SPEC, fill="edge"), BLURRED, replace(SPEC, gamma=(0.6, 1.8))],
    ids=["black", "grey", "edge", "blurred", "gamma"],
)
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_views_match_the_reference(index, png_index, warp_reference, blur_reference, grey_levels, spec, format, device):
    chosen = index.take(range(20)) if format == "jpeg" else png_index.take(range(20))  # the last batch is short
    spec = replace(spec, translation=0.3)  # so that fill is seen
    made = make_views(chosen, spec, device=device)
    assert [len(batch.rows) for batch in made] == [8, 8, 4]
    num_blurred = 0
    for request, batch in zip(requests(chosen, spec), made, strict=True):
        assert batch.pixels.shape == (2, len(request.rows), 1, SIZE, SIZE)
        assert batch.pixels.dtype == torch.float32
        assert batch.pixels.device.type == device
        np.testing.assert_array_equal(batch.rows, request.rows)
        for (view, i), sigma in np.ndenumerate(request.sigmas):
            grey = decode_gray(chosen.read(int(request.rows[i])))
            warped = warp_reference(grey, request.matrices[view, i], SIZE, spec.fill)
            levels = grey_levels(batch.pixels[view, i, 0].cpu().numpy(), request.tones[view, i])
            tolerance = 0.51 + 0.5 * (sigma > 0) if device == "cpu" else 2.5  # CUDA decodes JPEGs to other levels
            np.testing.assert_allclose(levels, blur_reference(warped, sigma), atol=tolerance)
            num_blurred += sigma > 0
    assert (num_blurred > 0) == (spec.blur > 0)
    assert num_blurred < 40


def test_what_was_handed_out_is_not_written_to_again(index):
    engine = build_engine(index)
    held = [(batch, batch.pixels.clone()) for batch in engine.run(requests(index))]
    list(engine.run(requests(index)))
    assert len(held) == 8
    assert all(torch.equal(batch.pixels, then) for batch, then in held)


@pytest.mark.parametrize("device", DEVICES)
def test_damage_is_raised_at_its_batch(copied, device):
    damage(copied, 19)
    run = build_engine(copied, device=device).run(requests(copied))
    assert_same([next(run), next(run)], list(build_engine(copied, device=device).run(list(requests(copied))[:2])))
    with pytest.raises(DamagedSample, match=f"row {copied.rows[19]}.*another checksum"):
        next(run)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "data", [None, b"\xff\xd8\xff\xe0garbage" * 20, b"no image" * 20], ids=["bit", "jpeg", "other"]
)
def test_a_damaged_place_becomes_a_copy_of_the_next_whole_one(copied, data, device):
    """Found by checksum, or by DALI, whose pipeline then has to be built again."""
    whole = make_views(copied, BLURRED, device=device)
    for position in (18, 19, 23, 40):
        damage(copied, position, data=data)
    engine = build_engine(copied, BLURRED, on_damage="skip", checksums=data is None, device=device)
    made = list(engine.run(requests(copied, BLURRED)))
    expected = list(requests(copied, BLURRED))
    assert sorted(engine._samples.skipped) == copied.rows[[18, 19, 23, 40]].tolist()
    assert len(made) == len(whole)
    for number, (batch, before, request) in enumerate(zip(made, whole, expected, strict=True)):
        taken = {2: [0, 1, 4, 4, 4, 5, 6, 0], 5: [1, 1, 2, 3, 4, 5, 6, 7]}.get(number, range(8))
        np.testing.assert_array_equal(batch.rows, request.rows[taken])
        assert torch.equal(batch.pixels, before.pixels[:, taken])


def test_what_dali_cannot_decode_is_named(copied):
    damage(copied, 30, data=b"\xff\xd8\xff\xe0garbage" * 20)
    run = build_engine(copied, checksums=False).run(requests(copied))
    assert len([next(run) for _ in range(3)]) == 3
    with pytest.raises(DamagedSample, match=f"row {copied.rows[30]}.*cannot be decoded"):
        next(run)


def test_other_failures_of_dali_name_the_rows_in_flight(index, monkeypatch):
    """An image that only DALI cannot decode."""
    monkeypatch.setattr(Samples, "read", lambda self, row: memoryview(b"no image"))
    monkeypatch.setattr(Samples, "decode", lambda self, row: None)
    with pytest.raises(RuntimeError, match=f"one of the rows {index.rows[0]}, {index.rows[1]}"):
        make_views(index)


def test_an_error_of_the_requests_comes_behind_the_batches_before_it(index):
    def failing():
        yield from list(requests(index))[:3]
        raise KeyError("matrices")

    run = build_engine(index).run(failing())
    assert len([next(run) for _ in range(3)]) == 3
    with pytest.raises(KeyError, match="matrices"):
        next(run)


def num_threads():
    return len(os.listdir("/proc/self/task"))


def test_no_thread_outlives_a_run(index, copied):
    make_views(index)  # whatever DALI and OpenCV keep for good
    gc.collect()
    before = num_threads()
    engine = build_engine(index)
    run, other = engine.run(requests(index)), engine.run(requests(index))
    next(run), next(other)
    assert num_threads() > before
    del run
    gc.collect()
    engine.close()  # ends the other
    assert num_threads() == before
    with pytest.raises(StopIteration):
        next(other)

    engine = build_engine(index)
    run = engine.run(requests(index))
    next(run)
    del engine, run
    gc.collect()
    assert num_threads() == before

    damage(copied, 3, data=b"no image" * 20)
    with pytest.raises(DamagedSample) as caught:
        make_views(copied, checksums=False)
    gc.collect()
    assert num_threads() == before, caught
