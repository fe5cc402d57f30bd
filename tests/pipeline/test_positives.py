"""The loader with positives of two images."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.engines.samples import DamagedSample, decode_gray
from pipeline.loader import build_loader
from pipeline.pairs import Partners
from pipeline.views import PRESETS, affines, tones
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.remote.cache import Cache
from shards.remote.transfer import Patience
from tests.pipeline.families import groups, pack_families
from tests.servers import FileServer

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.6, 1.0), translation=0.1)
ENGINES = ["kornia", "dali", "resident"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack_families(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def index(packed):
    return ShardIndex.open(packed)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_second_view_is_of_the_partner(index, engine, warp_reference):
    of_row, _ = groups(index, "study")
    partners = Partners(index, "study")
    num_others = 0
    with build_loader(index, SPEC, batch_size=8, engine=engine, seed=5, positives="study", last="short") as loader:
        assert len(loader) == 6
        for batch in loader:
            first, second = batch.rows.numpy(), batch.partners.numpy()
            np.testing.assert_array_equal(second, partners.draw(first, passes=np.zeros(len(first), dtype=int), seed=5))
            assert [of_row[row] for row in first.tolist()] == [of_row[row] for row in second.tolist()]
            num_others += (first != second).sum()
            for view, shown in enumerate((first, second)):
                assert batch.views[view].shape == (8, 1, 48, 48)
                assert batch.views[view].is_contiguous()
                address = {"epoch": 0, "seed": 5, "view": view}
                matrices = affines(SPEC, first, index.datasets.sizes[shown], **address)
                gains = tones(SPEC, first, **address)
                for i, row in enumerate(shown.tolist()):
                    expected = warp_reference(decode_gray(index.read(row)), matrices[i], 48, SPEC.fill)
                    got = (batch.views[view][i, 0].double().numpy() - gains[i, 1]) / gains[i, 0]
                    assert np.abs(got - expected)[4:-4, 4:-4].mean() < 1.0, (view, i)  # 1/255 of full scale
    assert num_others == partners.num_paired


def test_engines_agree(index):
    batches = {}
    for engine in ENGINES:
        with build_loader(index, SPEC, batch_size=16, engine=engine, positives="patient") as loader:
            batches[engine] = [*loader, *loader]  # resident's second epoch decodes nothing
    for engine in ENGINES[1:]:
        for a, b in zip(batches["kornia"], batches[engine], strict=True):
            assert torch.equal(a.rows, b.rows)
            assert torch.equal(a.partners, b.partners)
            for x, y in zip(a.views, b.views, strict=True):
                assert (x - y).abs().mean() * SPEC.std < 1 / 255
                assert engine == "dali" or torch.equal(x, y)


@pytest.mark.gpu
def test_engines_on_the_gpu_agree_with_the_cpu(index):
    options = {"batch_size": 16, "positives": "patient"}
    with build_loader(index, SPEC, engine="kornia", **options) as loader:
        expected = list(loader)
    for engine in ENGINES:
        with build_loader(index, SPEC, engine=engine, device="cuda", **options) as loader:
            list(loader)
            loader.load_state_dict({"seed": 0, "epoch": 0, "position": 0})
            batches = list(loader)  # the resident engine's come from the GPU's memory
        for batch, other in zip(batches, expected, strict=True):
            assert torch.equal(batch.partners, other.partners)
            for a, b in zip(batch.views, other.views, strict=True):
                assert a.is_cuda
                assert (a.cpu() - b)[..., 2:-2, 2:-2].abs().mean() * SPEC.std < 1 / 255


def test_without_another_image_views_are_those_of_the_image(index):
    """First views, and both views of images that have no partner, are bit for bit those of positives image."""
    alone = {}
    with build_loader(index, SPEC, batch_size=8, engine="kornia", seed=2) as loader:
        for batch in loader:
            assert batch.partners is None
            alone |= {int(row): pair for row, *pair in zip(batch.rows, *batch.views, strict=True)}
    num_single = 0
    with build_loader(index, SPEC, batch_size=8, engine="kornia", seed=2, positives="study") as loader:
        for batch in loader:
            for row, partner, first, second in zip(batch.rows, batch.partners, *batch.views, strict=True):
                assert torch.equal(first, alone[int(row)][0])
                assert torch.equal(second, alone[int(row)][1]) == (row == partner)
                num_single += int(row == partner)
    assert num_single == 12


def test_a_pair_is_the_same_on_any_rank_and_batch_size(index):
    def pairs(**options):
        with build_loader(index, SPEC, seed=4, positives="patient", **options) as loader:
            return {
                int(row): (int(partner), view)
                for batch in loader
                for row, partner, view in zip(batch.rows, batch.partners, batch.views[1], strict=True)
            }

    alone, shared = pairs(batch_size=16), pairs(batch_size=4, rank=1, world_size=2)
    assert len(shared) == 24
    for row, (partner, view) in shared.items():
        assert partner == alone[row][0]
        assert torch.equal(view, alone[row][1])


@pytest.mark.parametrize("engine", ENGINES)
def test_restored_in_mid_epoch_the_rest_is_bit_identical(index, engine):
    options = {"engine": engine, "seed": 2, "positives": "study", "last": "pad"}
    with build_loader(index, SPEC, batch_size=10, **options) as loader:
        batches = iter(loader)
        for _ in range(2):
            next(batches)
        state = loader.state_dict()
        rest = list(batches) + list(loader)
    with build_loader(index, SPEC, batch_size=10, num_threads=1, **options) as loader:
        loader.load_state_dict(state)
        again = list(loader) + list(loader)
    assert len(again) == len(rest) == 3 + 5
    for a, b in zip(rest, again, strict=True):
        assert torch.equal(a.rows, b.rows)
        assert torch.equal(a.partners, b.partners)
        assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))


@pytest.mark.parametrize("shuffle", ["shards", "none"])
@pytest.mark.parametrize("engine", ["kornia", "dali"])
def test_any_order_and_a_short_last_batch(index, engine, shuffle):
    options = {"shuffle": shuffle, "last": "short", "checksums": False}  # as DALI's sequential reader wants it
    with build_loader(index, SPEC, batch_size=20, engine=engine, positives="patient", **options) as loader:
        batches = list(loader)
    assert [len(batch.views[1]) for batch in batches] == [20, 20, 8]
    assert sorted(torch.cat([batch.rows for batch in batches]).tolist()) == index.rows.tolist()
    patients = index.patients()
    for batch in batches:
        np.testing.assert_array_equal(patients[batch.rows], patients[batch.partners])


def test_memory_is_used_again_and_what_is_kept_stays(index):
    with build_loader(index, SPEC, batch_size=8, engine="kornia", positives="study") as loader:
        places = [batch.views[1].data_ptr() for _ in range(4) for batch in loader]
        kept = [(batch, batch.views[1].clone()) for batch in loader]
    assert len(places) == 24
    assert len(set(places)) <= 6
    assert all(torch.equal(batch.views[1], copy) for batch, copy in kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_image_takes_its_whole_pair_with_it(packed, index, tmp_path, engine):
    damaged = ShardIndex.open(shutil.copytree(packed, tmp_path / "damaged"))
    bad = damaged.rows[[3, 20, 41]].tolist()
    for row in bad:
        place = damaged.place(row)
        with place.tar.open("r+b") as file:
            file.seek(place.offset)
            file.write(b"no image" * 8)
    options = {"batch_size": 12, "engine": engine, "seed": 1, "positives": "patient"}
    with build_loader(index, SPEC, **options) as loader:
        expected = list(loader)
    with build_loader(damaged, SPEC, on_damage="skip", **options) as loader:
        batches = list(loader)
        assert set(loader.skipped) == set(bad)
    num_replaced = 0
    for batch, other in zip(batches, expected, strict=True):
        planned = list(zip(other.rows.tolist(), other.partners.tolist(), strict=True))
        for i, pair in enumerate(zip(batch.rows.tolist(), batch.partners.tolist(), strict=True)):
            assert not set(pair) & set(bad)
            j = planned.index(pair)  # a pair of this batch
            assert (i == j) == (not set(planned[i]) & set(bad))
            num_replaced += i != j
            for view, right in zip(batch.views, other.views, strict=True):
                assert torch.equal(view[i], right[j])
    assert num_replaced >= 3
    with pytest.raises(DamagedSample), build_loader(damaged, SPEC, **options) as loader:
        list(loader)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positives": "series"}, "positives 'series': give image or study or patient"),
        ({"positives": "study", "num_views": 1}, "num_views 1: positives study makes pairs; give 2"),
    ],
)
def test_wrong_settings_are_named(index, options, message):
    with pytest.raises(InputError, match=message):
        build_loader(index, SPEC, batch_size=8, **options)


def test_positives_of_which_there_are_none_are_refused(tiny_dataset):
    with pytest.raises(InputError, match="positives patient: none of the 96 images selected has another one"):
        build_loader(ShardIndex.open(tiny_dataset), SPEC, batch_size=8, positives="patient")


def shard_bytes(packed):
    return max(path.stat().st_size for path in packed.glob("*.tar"))


@pytest.mark.parametrize("engine", ["kornia", "resident"])
def test_partners_of_a_dataset_elsewhere_are_fetched_ahead(packed, index, tmp_path, engine):
    options = {"batch_size": 8, "seed": 1, "positives": "patient", "shuffle": "shards"}
    with build_loader(index, SPEC, engine="kornia", **options) as loader:
        expected = list(loader)
    with FileServer(packed.parent) as server:
        cache = Cache(
            folder=tmp_path / "cache", num_bytes=13 * shard_bytes(packed), patience=Patience(first_seconds=0.01)
        )
        remote = ShardIndex.open(f"{server.address}/families", cache=cache)
        with build_loader(remote, SPEC, engine=engine, **options) as loader:
            batches = list(loader)
        assert len(server.count()) == 12
        assert set(server.count().values()) == {1}
    for a, b in zip(batches, expected, strict=True):
        assert torch.equal(a.partners, b.partners)
        assert torch.equal(a.views[1], b.views[1])


def test_a_cache_that_would_thrash_is_refused(packed, tmp_path):
    with FileServer(packed.parent) as server:
        cache = Cache(folder=tmp_path / "cache", num_bytes=9 * shard_bytes(packed))
        remote = ShardIndex.open(f"{server.address}/families", cache=cache)
        with (
            build_loader(remote, SPEC, batch_size=8, engine="kornia", positives="patient") as loader,
            pytest.raises(InputError, match=r"positives patient: partners lie in any shard.* \(1\d of 12\)"),
        ):
            next(iter(loader))
        assert not server.count()
        with build_loader(remote, SPEC, batch_size=8, engine="kornia") as loader:
            assert len(list(loader)) == 6  # a window of 6 shards at a time
