"""Small crops beside views: what is drawn for them, and what each engine makes of it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.engines.samples import decode_gray
from pipeline.loader import build_loader
from pipeline.plan import plan_batch
from pipeline.views import PRESETS, affines, sigmas, tones
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.pipeline.engines.dali.conftest import damage

PLAIN = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0), translation=0.1, blur=0.5)
SPEC = replace(PLAIN, small_crops=3, small_size=20, small_area=(0.2, 0.4))
ENGINES = ["kornia", "dali", "resident"]


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset).where(split="train")


def first_batch(index, spec, engine, **options):
    with build_loader(index, spec, batch_size=16, engine=engine, seed=5, **options) as loader:
        return next(iter(loader))


def test_small_crops_are_views_of_the_next_numbers() -> None:
    rows, sizes, passes = np.arange(6), np.tile([70, 60], (6, 1)), np.full(6, 4)
    request = plan_batch(SPEC, rows=rows, sizes=sizes, passes=passes, seed=3, num_views=2)
    assert request.matrices.shape == (5, 6, 2, 3)
    for view, spec in enumerate([PLAIN, PLAIN, *[replace(PLAIN, size=20, area=(0.2, 0.4))] * 3]):
        address = {"epoch": passes, "seed": 3, "view": view}
        np.testing.assert_array_equal(request.matrices[view], affines(spec, rows, sizes, **address))
        np.testing.assert_array_equal(request.tones[view], tones(spec, rows, **address))
        np.testing.assert_array_equal(request.sigmas[view], sigmas(spec, rows, **address))


@pytest.mark.parametrize("engine", ENGINES)
def test_small_crops_match_the_reference_and_leave_views_as_they_are(index, engine, warp_reference, blur_reference):
    batch, plain = first_batch(index, SPEC, engine), first_batch(index, PLAIN, engine)
    assert [tuple(view.shape) for view in batch.views] == [(16, 1, 48, 48)] * 2 + [(16, 1, 20, 20)] * 3
    assert all(torch.equal(a, b) for a, b in zip(batch.views, plain.views, strict=False))
    rows = batch.rows.numpy()
    sizes = index.take(np.searchsorted(index.rows, rows)).sizes()
    blurred = []
    for view in range(2, 5):
        address = {"epoch": 0, "seed": 5, "view": view}
        small = SPEC.small()
        matrices, sigma = affines(small, rows, sizes, **address), sigmas(small, rows, **address)
        gains = tones(small, rows, **address)
        blurred += (sigma > 0).tolist()
        for i, row in enumerate(rows.tolist()):
            warped = warp_reference(decode_gray(index.read(row)).astype(float), matrices[i], 20)
            expected = blur_reference(warped, sigma[i])
            got = (batch.views[view][i, 0].double().numpy() - gains[i, 1]) / gains[i, 0]
            assert np.abs(got - expected)[2:-2, 2:-2].mean() < 1.0, (view, i)
    assert 0 < sum(blurred) < len(blurred)


@pytest.mark.parametrize("engine", ENGINES)
def test_epochs_ranks_and_restarts_change_nothing(index, engine):
    def by_row(**options):
        with build_loader(index, SPEC, engine=engine, seed=4, **options) as loader:
            next(iter(loader))
            loader.load_state_dict({"seed": 4, "epoch": 1, "position": 0})
            return {int(row): crop for batch in loader for row, crop in zip(batch.rows, batch.views[4], strict=True)}

    alone, shared = by_row(batch_size=16), by_row(batch_size=4, rank=1, world_size=2)
    assert len(shared) == 32
    assert all(torch.equal(crop, alone[row]) for row, crop in shared.items())


def test_each_image_is_decoded_once_for_all_its_views(index, monkeypatch):
    decoded = []
    monkeypatch.setattr("pipeline.engines.samples.decode_gray", lambda *given: decoded.append(1) or decode_gray(*given))
    with build_loader(index, SPEC, batch_size=16, engine="kornia", num_threads=1) as loader:
        num_rows = sum(len(batch.rows) for batch in loader)
    assert len(decoded) == num_rows == 64


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_images_small_crops_are_skipped_with_it(tiny_dataset, tmp_path, engine):
    copy = shutil.copytree(tiny_dataset, tmp_path / "copy", ignore=shutil.ignore_patterns("source"))
    copied = ShardIndex.open(copy).where(split="train")
    damage(copied, 3)
    options = {"shuffle": "none", "on_damage": "skip"}
    batch = first_batch(copied, SPEC, engine, **options)
    assert batch.rows[3] != copied.rows[3]
    taken = int(np.flatnonzero(copied.rows == int(batch.rows[3]))[0])
    assert all(torch.equal(view[3], view[taken]) for view in batch.views)


def test_one_view_has_no_small_crops_and_pairs_refuse_them(index):
    assert len(first_batch(index, SPEC, "kornia", num_views=1).views) == 1
    with pytest.raises(InputError, match="views.small_crops 3: positives patient makes pairs"):
        build_loader(index, SPEC, batch_size=8, positives="patient")


def test_small_crops_have_a_size_of_their_own_at_most_that_of_views() -> None:
    assert replace(PRESETS["moco_v2"], small_crops=6).small().size == 96
    with pytest.raises(InputError, match="views.small_size 64: above views.size 48"):
        replace(SPEC, small_size=64)
    assert replace(PLAIN, small_size=64) != PLAIN, "nothing reads it without small crops"
