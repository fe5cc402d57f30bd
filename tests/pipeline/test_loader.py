import gc
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.engines.samples import DamagedSample, Samples, decode_gray
from pipeline.loader import build_loader
from pipeline.views import PRESETS, ViewSpec, affines, sigmas, tones
from shards.base.errors import InputError
from shards.index import ShardIndex

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.9, 1.0))
ENGINES = ["kornia", "dali", "resident"]


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset).where(split="train")


@pytest.mark.parametrize("fill", [0, "edge"])
@pytest.mark.parametrize("engine", ENGINES)
def test_views_match_the_reference(index, engine, fill, warp_reference, blur_reference, grey_levels):
    """One decode, one warp, one blur, one power and one multiply-add, against the same in float64."""
    spec = replace(SPEC, fill=fill, blur=0.5, translation=0.1, gamma=(0.7, 1.4))
    with build_loader(index, spec, batch_size=8, engine=engine, seed=5) as loader:
        batch = next(iter(loader))
    rows = batch.rows.numpy()
    sizes = index.take(np.searchsorted(index.rows, rows)).sizes()
    blurred = []
    for view in range(2):
        address = {"epoch": 0, "seed": 5, "view": view}
        matrices, sigma = affines(spec, rows, sizes, **address), sigmas(spec, rows, **address)
        gains = tones(spec, rows, **address)
        blurred += (sigma > 0).tolist()
        for i, row in enumerate(rows.tolist()):
            warped = warp_reference(decode_gray(index.read(row)).astype(float), matrices[i], spec.size, fill)
            expected = blur_reference(warped, sigma[i]) if sigma[i] else warped
            got = grey_levels(batch.views[view][i, 0].numpy(), gains[i])
            assert np.abs(got - expected)[4:-4, 4:-4].mean() < 1.0, (view, i)  # 1/255 of full scale
    assert 0 < sum(blurred) < len(blurred)


def test_engines_agree(index):
    first = {}
    for engine in ENGINES:
        with build_loader(index, SPEC, batch_size=16, engine=engine) as loader:
            first[engine] = next(iter(loader))
    for engine in ENGINES[1:]:
        assert torch.equal(first["kornia"].rows, first[engine].rows)
        for a, b in zip(first["kornia"].views, first[engine].views, strict=True):
            assert (a - b).abs().mean() * SPEC.std < 1 / 255


def test_keeping_pixels_changes_nothing(index):
    batches = {}
    for engine in ("kornia", "resident"):
        with build_loader(index, SPEC, batch_size=16, engine=engine) as loader:
            batches[engine] = [*loader, *loader, *loader]
    for a, b in zip(batches["kornia"], batches["resident"], strict=True):
        assert torch.equal(a.rows, b.rows)
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))


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
    with build_loader(index, SPEC.evaluation(), batch_size=30, num_views=1, shuffle="none", last="short") as loader:
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


def test_empty_selection_is_refused(index):
    with pytest.raises(InputError, match="selects no image"):
        build_loader(index.where(split="valid"), SPEC, batch_size=4)


def test_enlarging_is_warned_of(index, recwarn):
    for size in (64, 65):
        build_loader(index, replace(SPEC, size=size), batch_size=8, engine="kornia").close()
    assert {one.filename for one in recwarn} == {__file__}
    assert [str(one.message) for one in recwarn] == ["no image has more than 64 px: views of 65 px enlarge all of them"]


def test_a_preset_by_its_name(index, recwarn):
    with build_loader(index, "moco_cxr", batch_size=8, engine="kornia") as loader:
        assert repr(loader) == "<Loader: 8 batches of 8 rows, 2 views of 320 px by kornia>"
        batch = next(iter(loader))
        assert repr(batch) == "<Batch: 2 views (8, 1, 320, 320) torch.float32 on cpu>"
    with pytest.raises(InputError, match="views mocco_cxr: no such preset; did you mean moco_cxr"):
        build_loader(index, "mocco_cxr", batch_size=8)


def test_aliasing_is_warned_of(index):
    with pytest.warns(UserWarning, match="pack with --size 20"):
        build_loader(index, ViewSpec(size=16), batch_size=4).close()


@pytest.fixture
def damaged(tiny_dataset, tmp_path):
    """A copy of the tiny dataset with one bit of two rows of the training split changed."""
    shutil.copytree(tiny_dataset, tmp_path / "damaged")
    index = ShardIndex.open(tmp_path / "damaged").where(split="train")
    for row in index.rows[[10, 30]].tolist():
        place = index.place(row)
        data = bytearray(place.tar.read_bytes())
        data[place.offset + place.length // 2] ^= 4
        place.tar.write_bytes(data)
    return index


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_image_is_named_and_ends_the_run(damaged, engine):
    bad = set(damaged.rows[[10, 30]].tolist())
    with build_loader(damaged, SPEC, batch_size=8, engine=engine) as loader:
        seen = []
        with pytest.raises(DamagedSample) as caught:
            seen += [set(batch.rows.tolist()) for batch in loader]
    assert not bad & set().union(*seen)
    assert any(f"(row {row}: " in str(caught.value) for row in bad)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_image_is_skipped_with_a_count(damaged, index, engine):
    bad = set(damaged.rows[[10, 30]].tolist())
    with build_loader(index, SPEC, batch_size=8, engine=engine, seed=1) as whole:
        expected = list(whole)
    with build_loader(damaged, SPEC, batch_size=8, engine=engine, seed=1, on_damage="skip") as loader:
        batches = list(loader)
        assert set(loader.skipped) == bad
    for batch, other in zip(batches, expected, strict=True):
        for i, (row, planned) in enumerate(zip(batch.rows.tolist(), other.rows.tolist(), strict=True)):
            if planned not in bad:
                assert row == planned
                assert torch.equal(batch.views[1][i], other.views[1][i])
            else:
                j = batch.rows.tolist().index(row)  # the place is taken by another row of the batch
                assert row not in bad
                assert torch.equal(batch.views[1][i], batch.views[1][j])


def test_what_kills_a_thread_names_the_image(index, monkeypatch):
    def fail(self, row, out=None):
        raise MemoryError("no memory")

    monkeypatch.setattr(Samples, "decode", fail)
    with (
        build_loader(index, SPEC, batch_size=8, engine="kornia") as loader,
        pytest.raises(RuntimeError, match=r"failed on image .*\(row \d+: .*MemoryError"),
    ):
        next(iter(loader))


def num_threads_of_engines():
    return sum(thread.name.startswith("views") for thread in threading.enumerate())


@pytest.mark.parametrize("engine", ["kornia", "resident"])
def test_no_thread_survives_its_loader(index, engine):
    with build_loader(index, SPEC, batch_size=8, engine=engine, num_threads=3) as loader:
        next(iter(loader))
        assert num_threads_of_engines() == 3
    assert num_threads_of_engines() == 0
    loader = build_loader(index, SPEC, batch_size=8, engine=engine, num_threads=3)
    batches = iter(loader)
    next(batches)
    del loader, batches  # left in the middle of an epoch, never closed
    gc.collect()
    deadline = time.monotonic() + 10
    while num_threads_of_engines() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert num_threads_of_engines() == 0


def test_an_abandoned_epoch_can_be_gone_on_with(index):
    with build_loader(index, SPEC, batch_size=8, engine="resident") as loader:
        whole = [batch.rows.tolist() for batch in loader]
        loader.load_state_dict({"seed": 0, "epoch": 0, "position": 0})
        for _ in zip(range(3), loader, strict=False):
            pass
        # zip takes a fourth batch only if its first iterator has more
        assert loader.state_dict()["position"] == 24
        assert [batch.rows.tolist() for batch in loader] == whole[3:]


def test_batches_that_are_kept_stay_as_they_were(index):
    with build_loader(index, SPEC, batch_size=8, engine="resident") as loader:
        kept = [(batch, batch.views[0].clone()) for _ in range(3) for batch in loader]
    assert all(torch.equal(batch.views[0], copy) for batch, copy in kept)


def test_memory_is_used_again(index):
    with build_loader(index, SPEC, batch_size=8, engine="kornia") as loader:
        places = [batch.views[0].data_ptr() for _ in range(4) for batch in loader]
    assert len(places) == 32
    assert len(set(places)) <= 6


def test_weights_mix_datasets(tiny_dataset):
    index = ShardIndex.open(tiny_dataset, tiny_dataset)
    with build_loader(index, SPEC, batch_size=16, weights=(3, 1)) as loader:
        rows = torch.cat([batch.rows for batch in loader])
    assert (rows < 96).sum() == 3 * (rows >= 96).sum() == 144


def test_shards_in_turn(index):
    with build_loader(index, SPEC, batch_size=8, engine="kornia", shuffle="shards") as loader:
        rows = torch.cat([batch.rows for batch in loader])
    assert sorted(rows.tolist()) == index.rows.tolist()


@pytest.mark.gpu
def test_engines_on_the_gpu_agree_with_the_cpu(index):
    with build_loader(index, SPEC, batch_size=16, engine="kornia") as loader:
        expected = next(iter(loader))
    for engine in ENGINES:
        with build_loader(index, SPEC, batch_size=16, engine=engine, device="cuda") as loader:
            assert len(list(loader)) == 4  # the resident engine's second epoch comes from the GPU's memory
            loader.load_state_dict({"seed": 0, "epoch": 0, "position": 0})
            batch = next(iter(loader))
        for a, b in zip(batch.views, expected.views, strict=True):
            assert a.is_cuda
            assert (a.cpu() - b)[..., 2:-2, 2:-2].abs().mean() * SPEC.std < 1 / 255
