"""Rates of groups at a threshold from validation, against rates counted by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.results.compare import Statistics
from eval.results.rates import gaps, rate_interval, validation_threshold
from eval.results.subgroups import compare_subgroups, subgroups
from eval.study.cells import Cell, CellKey
from eval.study.protocol import choose_protocol
from eval.study.studies import scored_studies
from shards.format.schema import index_schema, table_from_rows
from shards.index import ShardIndex


def cell(test_rows, scores, valid_rows, valid_scores, **more):
    return Cell(
        key=CellKey(readout="linear", start="a", fraction=1.0, draw=0),
        fingerprint="f",
        labels=("Finding",),
        test_rows=test_rows,
        scores=np.asarray(scores, np.float32)[:, None],
        valid_rows=valid_rows,
        valid_scores=np.asarray(valid_scores, np.float32)[:, None],
        num_patients=1,
        num_images=[1],
        num_positives=[1],
        is_extended=False,
        **more,
    )


@pytest.fixture
def index(make_index):
    """Twenty validation images of either class, then eighty test images: of women, whose ill are seen, and of men."""
    rows = [{"patient_id": f"v{i}", "split": "valid", "Finding": i % 2} for i in range(20)]
    for i in range(80):
        rows.append({"patient_id": f"t{i}", "split": "test", "sex": "FM"[i % 2], "Finding": int(i < 40)})
    rows += [{"patient_id": f"n{i}", "split": "train", "Finding": i % 2} for i in range(4)]
    return make_index(rows)


def test_the_threshold_is_that_of_validation(index):
    rows = np.arange(20)
    valid = np.where(rows % 2 == 1, 5.0, rows / 10)  # negatives have 0, .2 ... 1.8
    found = cell(np.arange(20, 24), [9, 9, 9, 9], rows, valid)
    threshold = validation_threshold(found, index, "Finding", specificity=0.8, uncertain="ignore")
    assert threshold == pytest.approx(1.6)
    one_class = cell(np.arange(20, 24), [9, 9, 9, 9], rows[::2], valid[::2])
    assert validation_threshold(one_class, index, "Finding", specificity=0.8, uncertain="ignore") is None


def test_rates_are_those_counted_by_hand(index):
    test = scored_studies(index.where(split="test"), ["Finding"], choose_protocol(index))
    number = np.arange(80)
    scores = np.where(number < 40, np.where(number % 2 == 0, 3.0, np.where(number < 10, 3.0, 0.0)), 0.0)
    scores[number >= 70] = 3.0  # five well women and five well men are alarmed
    valid = np.where(np.arange(20) % 2 == 1, 5.0, 1.0)
    cells = {("linear", 1.0): {"a": [cell(np.arange(20, 100), scores, np.arange(20), valid)]}}
    rows, found = compare_subgroups(
        cells, test, baseline="a", statistics=Statistics(num_replicates=200, specificity=0.9), index=index
    )
    by_group = {row.group: row for row in rows if row.attribute == "sex"}
    assert by_group["F"].true_positive_rate.estimate == 1.0
    assert by_group["M"].true_positive_rate.estimate == pytest.approx(5 / 20)
    assert by_group["M"].true_positive_rate.low < 0.25 < by_group["M"].true_positive_rate.high
    assert by_group["F"].false_positive_rate.estimate == pytest.approx(5 / 20)
    missed, alarmed = found
    assert (missed.rate, missed.attribute, missed.worst, missed.best) == ("true positive", "sex", "M", "F")
    assert missed.size.estimate == pytest.approx(0.75)
    assert 0.5 < missed.size.low < 0.75 < missed.size.high < 1
    assert (alarmed.rate, alarmed.size.estimate) == ("false positive", pytest.approx(0.0))
    assert alarmed.size.low < 0 < alarmed.size.high, "no gap is among what is likely"
    without, none = compare_subgroups(cells, test, baseline="a", statistics=Statistics(num_replicates=200))
    assert all(row.true_positive_rate is None for row in without)
    assert none == []


def test_patients_are_resampled_whole():
    called = np.repeat([0.0, 1.0], 50)
    alone = rate_interval(called, np.arange(100), num_replicates=400, level=0.95, seed=0)
    together = rate_interval(called, np.arange(100) // 10, num_replicates=400, level=0.95, seed=0)
    assert alone.estimate == together.estimate == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert rate_interval(called[:0], np.arange(0), num_replicates=10, level=0.95, seed=0) is None


def gaps_of(called, groups, patients, labels):
    """Gaps of items of which ``called`` are called positive, in groups by their first letter."""
    test = SimpleNamespace(clusters=patients, labels=labels[:, None], names=("Finding",))
    members = {("race", name): groups == name for name in dict.fromkeys(groups)}
    about = {"readout": "linear", "fraction": 1.0, "start": "s"}
    return gaps(called, members, test, 0, Statistics(num_replicates=600), **about)


def test_who_states_nothing_is_in_no_gap():
    groups = np.repeat(["A", "B", "C", "not stated"], 20)
    called = np.r_[np.arange(20) < 10, np.arange(20) < 18, np.arange(20) < 14, np.zeros(20)].astype(float)
    missed, alarmed = gaps_of(called, groups, np.arange(80), np.tile([1.0, 0.0], 40))
    assert (missed.worst, missed.best, missed.size.estimate) == ("A", "B", pytest.approx(0.4))
    assert (alarmed.worst, alarmed.best, alarmed.size.estimate) == ("B", "A", pytest.approx(0.4))
    assert gaps_of(called, np.repeat(["A", "not stated"], 40), np.arange(80), np.tile([1.0, 0.0], 40)) == []


def test_gaps_are_resampled_by_patients_with_both_groups_together():
    """A patient who is in both groups pulls both rates the same way, so the gap is surer than of people apart."""
    groups, labels = np.tile(["A", "B"], 100), np.ones(200)
    labels[:4] = 0
    called = np.where(groups == "A", 0.0, np.repeat(np.random.default_rng(0).random(100), 2))
    called += np.repeat(np.random.default_rng(1).random(100) < 0.5, 2)
    width = {}
    for name, patients in (("together", np.arange(200) // 2), ("apart", np.arange(200))):
        size = gaps_of(called, groups, patients, labels)[0].size
        width[name] = size.high - size.low
    assert width["together"] < 0.7 * width["apart"]


def test_kept_columns_are_groups(tmp_path):
    common = {"dataset": "made", "split": "test", "study_id": "s", "width": 8, "height": 8, "shard": "a.tar"}
    races, weights = ["Asian", "White", None, "Asian"] * 10, [f"{20 + i / 2}" for i in range(40)]
    rows = [
        common
        | {"key": f"k{i}", "crc32": i, "offset": 0, "length": 1, "patient_id": f"p{i}", "race": races[i]}
        | {"bmi": weights[i], "note": f"text {i}"}
        for i in range(40)
    ]
    kept = ["race", "bmi", "note"]
    pq.write_table(table_from_rows(rows, index_schema(["Finding"], texts=(), kept=kept)), tmp_path / "index.parquet")
    about = {"format_version": 1, "labels": ["Finding"], "fingerprint": "m", "image": {"format": "jpeg"}}
    (tmp_path / "dataset.json").write_text(json.dumps(about | {"kept_columns": kept}))
    found = subgroups(ShardIndex.open(tmp_path), np.arange(40))
    sizes = {(one.attribute, one.name): int(one.members.sum()) for one in found}
    assert {name: size for (attribute, name), size in sizes.items() if attribute == "race"} == {
        "Asian": 20,
        "White": 10,
        "not stated": 10,
    }
    assert [name for attribute, name in sizes if attribute == "bmi"] == ["<26.5", "26.5-33", "33+"]
    assert "note" not in {attribute for attribute, _ in sizes}, "too many words to be groups"
