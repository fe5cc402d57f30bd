import shutil
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.engines.contract import Views
from pipeline.engines.samples import DamagedSample, Samples
from pipeline.pairs import Partners, mend
from pipeline.philox import uniforms
from pipeline.views import PRESETS
from shards.index import ShardIndex
from tests.pipeline.families import groups, pack_families

SPEC = replace(PRESETS["crop_contrast"], size=48, area=(0.6, 1.0), translation=0.1)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack_families(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def index(packed):
    return ShardIndex.open(packed)


def draw(partners, rows, *, epoch=0, seed=0):
    return partners.draw(np.asarray(rows), passes=np.full(len(rows), epoch), seed=seed)


@pytest.mark.parametrize("by", ["study", "patient"])
def test_partners_are_the_others_of_the_group_each_as_often(index, by):
    of_row, members = groups(index, by)
    rows = np.repeat(index.rows, 2000)
    passes = np.tile(np.arange(2000), len(index))
    drawn = Partners(index, by).draw(rows, passes=passes, seed=3).reshape(len(index), -1)
    for row, partners in zip(index.rows.tolist(), drawn.tolist(), strict=True):
        others = members[of_row[row]] - {row} or {row}
        counts = Counter(partners)
        assert set(counts) == others
        assert all(abs(count - 2000 / len(others)) < 5 * np.sqrt(2000 / len(others)) for count in counts.values())


def test_only_selected_images_are_partners(index):
    frontal = index.where(view="frontal")
    drawn = np.concatenate([draw(Partners(frontal, "patient"), frontal.rows, epoch=epoch) for epoch in range(20)])
    assert set(drawn.tolist()) <= set(frontal.rows.tolist())
    both = np.concatenate([draw(Partners(index, "patient"), frontal.rows, epoch=epoch) for epoch in range(20)])
    assert set(index.where(view="lateral").rows.tolist()) & set(both.tolist())


def test_a_draw_depends_on_its_address_alone(index):
    partners = Partners(index, "patient")
    rows = np.random.default_rng(0).permutation(index.rows)
    passes = np.arange(len(rows)) % 5
    together = partners.draw(rows, passes=passes, seed=1)
    alone = [partners.draw(rows[i : i + 1], passes=passes[i : i + 1], seed=1)[0] for i in range(len(rows))]
    np.testing.assert_array_equal(together, alone)
    shuffled = Partners(index.take(np.random.default_rng(1).permutation(len(index))), "patient")
    np.testing.assert_array_equal(together, shuffled.draw(rows, passes=passes, seed=1))
    assert not np.array_equal(draw(partners, rows), draw(partners, rows, epoch=1))
    assert not np.array_equal(draw(partners, rows), draw(partners, rows, seed=1))


def test_who_is_drawn_says_nothing_of_how_it_is_seen(index):
    patients, passes = index.patients(), np.arange(2000)
    row = index.rows[[np.bincount(patients)[patients].argmax()]].repeat(2000)  # of a patient with 5 images
    drawn = Partners(index, "patient").draw(row, passes=passes, seed=0)
    assert len(set(drawn.tolist())) == 4
    for view in (0, 1):
        seen = uniforms(row, seed=0, epoch=passes, view=view, num_draws=13)
        assert np.abs(np.corrcoef(drawn, seen, rowvar=False)[0, 1:]).max() < 0.1


def test_studies_of_one_name_are_not_one_study(index):
    assert len(set(index.column("study_id"))) == 3
    partners = Partners(index, "study")
    assert partners.num_paired == 4 * (3 + 2 + 4)
    assert partners.summary == (
        "positives study: 36 of the 48 images have another one of their study; each other one is paired with itself"
    )


def test_patients_of_two_datasets_are_never_partners(packed, tmp_path):
    other = shutil.copytree(packed, tmp_path / "other")
    index = ShardIndex.open(packed, other)
    table = index.datasets.table
    place = table.column_names.index("dataset")
    index.datasets.table = table.set_column(place, "dataset", [["one"] * 48 + ["two"] * 48])
    drawn = np.stack([draw(Partners(index, "patient"), index.rows, epoch=epoch) for epoch in range(20)])
    assert np.array_equal(drawn < 48, np.broadcast_to(index.rows < 48, drawn.shape))


def test_a_large_index_is_quick():
    """223,414 rows in under a second, a batch of 256 in under a millisecond; the best of three on a busy machine."""
    n, random = 223_414, np.random.default_rng(0)
    patients, studies = random.integers(0, 64_540, n), random.integers(1, 4, n)
    names = {"dataset": ["chexpert"] * n, "patient_id": patients.astype(str), "study_id": studies.astype(str)}
    index = ShardIndex(SimpleNamespace(table=pa.table(names), sizes=np.zeros((n, 2))), np.arange(n))
    set_up, drawing = [], []
    for _ in range(3):
        start = time.perf_counter()
        partners = Partners(index, "study")
        set_up.append(time.perf_counter() - start)
        start = time.perf_counter()
        for epoch in range(20):
            draw(partners, index.rows[:256], epoch=epoch)
        drawing.append((time.perf_counter() - start) / 20)
    assert min(set_up) < 1
    assert min(drawing) < 1e-3


def test_a_broken_pair_is_replaced_by_the_next_whole_one(index):
    request = Partners(index, "patient").plan(SPEC, rows=index.rows[:4], passes=np.arange(4), seed=0)
    pixels = torch.arange(8.0).reshape(1, 8, 1, 1, 1)
    assert mend(Views(pixels, request.rows), request, Samples(index))[0].flatten().tolist() == list(range(8))
    got = request.rows.copy()
    got[[1, 7]] = -1  # the first of pair 1, and the second of pair 3
    mended, rows = mend(Views(pixels, got), request, Samples(index))
    assert mended.flatten().tolist() == [0, 2, 2, 0, 4, 6, 6, 4]
    np.testing.assert_array_equal(rows, request.rows.reshape(2, 4)[:, [0, 2, 2, 0]])


def test_without_a_whole_pair_the_damage_is_named(index):
    rows = index.rows[:2]
    request = Partners(index, "patient").plan(SPEC, rows=rows, passes=np.arange(2), seed=0)
    samples = Samples(index, on_damage="skip")
    samples.skipped = {row: f"image {row} is bad" for row in request.rows.tolist()}
    got = request.rows.copy()
    got[[0, 3]] = -1
    with pytest.raises(DamagedSample, match=f"image {rows[0]} is bad"):
        mend(Views(torch.zeros(1, 4, 1, 8, 8), got), request, samples)
