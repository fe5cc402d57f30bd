"""By row, or by the reader of tars where the requests keep to the order of the shards: the same views."""

import numpy as np
import pytest

from pipeline.engines.dali.feed import Source, reader_positions
from pipeline.engines.samples import DamagedSample, Samples
from shards.index import ShardIndex
from tests.pipeline.engines.dali.conftest import DEVICES, assert_same, build_engine, damage, make_views, requests


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", ["all", "subset", "rank", "pngs", "both", "one short batch"])
def test_sequential_reading_equals_reading_by_row(index, png_index, feeds, case, device):
    chosen = {
        "all": index,  # two shards
        "subset": index.take(range(5, 64, 3)),
        "rank": index,
        "pngs": png_index,
        "both": ShardIndex.open(index.folders[0], png_index.folders[0]).take(range(60, 110)),
        "one short batch": index.take(range(5)),
    }[case]
    asked = list(requests(chosen))[1::2] if case == "rank" else list(requests(chosen))
    expected = list(build_engine(chosen, checksums=False, device=device).run(asked))
    assert feeds == {"row": len(asked), "reader": 0}
    engine = build_engine(chosen, checksums=False, device=device, sequential=True)
    assert_same(list(engine.run(asked)), expected)
    assert_same(list(engine.run(asked[1:])), expected[1:])  # gone on in mid-epoch
    assert feeds == {"row": len(asked), "reader": 2 * len(asked) - 1}


def test_requests_that_leave_the_order_of_the_shards_are_served_by_row(index, feeds):
    asked = list(requests(index))
    expected = list(build_engine(index).run(asked))
    feeds["row"] = 0
    for order, by_reader in (([0, 1, 2, 5, 3, 4], 3), ([3, 2, 1], 0), ([0, 1, 0, 1], 2), ([1, 1], 0)):
        feeds.update(row=0, reader=0)
        made = list(build_engine(index, checksums=False, sequential=True).run([asked[i] for i in order]))
        assert_same(made, [expected[i] for i in order])
        assert feeds == {"row": len(order) - by_reader, "reader": by_reader}


def test_an_index_out_of_order_or_with_checksums_is_read_by_row(index, feeds):
    shuffled = index.take(np.random.default_rng(0).permutation(64))
    for chosen, checksums in ((shuffled, False), (index, True)):
        engine = build_engine(chosen, checksums=checksums, sequential=True)
        assert_same(list(engine.run(requests(chosen))), make_views(chosen))
    assert feeds["reader"] == 0


def test_requests_stay_lazy_in_sequential_reading(index):
    pulled = []
    run = build_engine(index, checksums=False, sequential=True).run(
        pulled.append(request) or request for request in requests(index)
    )
    next(run)
    assert len(pulled) <= 4


def test_a_batch_behind_a_short_one_is_not_read_at_the_wrong_place(index, feeds):
    asked = list(requests(index.take(range(12)))) + list(requests(index.take(range(12, 20))))  # 8, 4, 8
    expected = list(build_engine(index).run(asked))
    made = list(build_engine(index, checksums=False, sequential=True).run(asked))
    assert_same(made, expected)
    assert feeds["reader"] == 2


def test_damage_in_sequential_reading_is_named_or_skipped(copied, feeds):
    whole = make_views(copied)
    damage(copied, 30, data=b"no image" * 20)
    run = build_engine(copied, checksums=False, sequential=True).run(requests(copied))
    assert_same([next(run) for _ in range(3)], whole[:3])
    with pytest.raises(DamagedSample, match=f"row {copied.rows[30]}"):
        next(run)
    assert feeds["reader"] >= 4
    made = make_views(copied, on_damage="skip", checksums=False, sequential=True)
    assert_same(made[:3] + made[4:], whole[:3] + whole[4:])
    assert made[3].rows.tolist() == copied.rows[[24, 25, 26, 27, 28, 29, 31, 31]].tolist()


def test_a_remote_dataset_is_read_by_row(index, monkeypatch):
    samples, source = Samples(index, checksums=False), Source(requests(index))
    assert len(reader_positions(samples, source, 8)) == 64
    monkeypatch.setattr(ShardIndex, "is_remote", True)
    assert reader_positions(samples, source, 8) is None
