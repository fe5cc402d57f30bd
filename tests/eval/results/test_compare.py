"""From cells to rows: figures against a plain computation, pairing, Holm over all differences, subgroups."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from eval.results.compare import Statistics, compare
from eval.results.subgroups import compare_subgroups
from eval.stats.bootstrap import bootstrap
from eval.stats.interval import holm
from eval.study.cells import Cell, CellKey
from eval.study.protocol import choose_protocol
from eval.study.studies import scored_studies
from eval.words import MACRO, MICRO
from shards.base.errors import InputError
from shards.index import ShardIndex

NUM = 120
STATISTICS = Statistics(num_replicates=300)


@pytest.fixture
def index(make_index: Callable[[Sequence[dict]], ShardIndex]) -> ShardIndex:
    """120 test images: two views a study, two studies a patient."""
    generator = np.random.default_rng(0)
    finding = np.repeat(generator.random(NUM // 2) < 0.4, 2)
    rows = [
        {
            "patient_id": f"p{number // 4}",
            "study_id": f"s{number // 2}",
            "split": "test",
            "sex": "F" if number // 4 % 2 else "M",
            "age": 30 + 60 * (number // 4 > 26),
            "Finding": int(finding[number]),
        }
        for number in range(NUM)
    ]
    return make_index([*rows, {"patient_id": "q", "split": "train", "Finding": 1}])


def cell(index: ShardIndex, start: str, draw: int, *, seed: int, signal: float, fraction: float = 0.1) -> Cell:
    test = index.where(split="test")
    truth = test.labels("Finding")
    scores = np.random.default_rng(seed).normal(size=NUM) + signal * truth
    return Cell(
        key=CellKey(readout="linear", start=start, fraction=fraction, draw=draw),
        fingerprint="f",
        labels=("Finding",),
        test_rows=test.rows[::-1].copy(),  # in another order than the index
        scores=scores[::-1, None].astype(np.float32),
        valid_rows=np.empty(0, dtype=np.int64),
        valid_scores=np.empty((0, 1), dtype=np.float32),
        num_patients=10,
        num_images=[20 + draw],
        num_positives=[5],
        is_extended=draw == 1,
        details={"strength": 0.1},
    )


@pytest.fixture
def cells(index: ShardIndex) -> dict:
    def of(fraction: float, signal: float) -> dict:
        return {
            "random": [cell(index, f"random-{e}", d, seed=10 * d + e, signal=0.3) for d in (0, 1) for e in (0, 1)],
            "pretrained": [cell(index, "pretrained", d, seed=90 + d, signal=signal) for d in (0, 1)],
        }

    return {("linear", 1.0): of(1.0, 0.5), ("linear", 0.1): of(0.1, 2.5)}


def test_rows_are_what_a_plain_computation_gives(index: ShardIndex, cells: dict) -> None:
    test = scored_studies(index.where(split="test"), ["Finding"], choose_protocol(index))
    rows, num_dropped = compare(cells, test, baseline="random", statistics=STATISTICS)
    assert [(row.fraction, row.start) for row in rows] == [
        (0.1, "random"),
        (0.1, "pretrained"),
        (1.0, "random"),
        (1.0, "pretrained"),
    ]
    assert num_dropped == {"Finding": 0}
    truth = index.where(split="test").labels("Finding").reshape(-1, 2).max(axis=1)
    scores = [one.scores[::-1, 0].reshape(-1, 2).max(axis=1) for one in cells["linear", 0.1]["pretrained"]]
    row = rows[1]
    assert row.auroc.estimate == pytest.approx(np.mean([roc_auc_score(truth, one) for one in scores]))
    assert row.average_precision.estimate == pytest.approx(
        np.mean([average_precision_score(truth, one) for one in scores])
    )
    assert row.auroc.low < row.auroc.estimate < row.auroc.high
    assert [draw.auroc for draw in row.draws] == [[pytest.approx(roc_auc_score(truth, one))] for one in scores]
    assert [(draw.num_images, draw.is_extended) for draw in row.draws] == [(20, False), (21, True)]
    assert row.draws[0].details["cells"][0]["strength"] == 0.1
    assert [len(draw.auroc) for draw in rows[0].draws] == [2, 2]
    assert sum(one.num_studies for one in row.reliability) == 2 * NUM // 2
    counts = test.counts()["Finding"]
    assert (counts.num_images, counts.num_studies, counts.num_patients) == (NUM, NUM // 2, NUM // 4)


def test_differences_are_paired_checked_and_corrected(index: ShardIndex, cells: dict) -> None:
    test = scored_studies(index.where(split="test"), ["Finding"], choose_protocol(index))
    rows, _ = compare(cells, test, baseline="random", statistics=STATISTICS)
    assert [row.difference is None for row in rows] == [True, False, True, False]
    found = [row.difference for row in rows if row.difference]
    assert found[0].auroc.estimate == pytest.approx(rows[1].auroc.estimate - rows[0].auroc.estimate)
    assert found[0].delong is not None
    assert found[0].delong.estimate == pytest.approx(found[0].auroc.estimate)
    assert {0: found[0].p_holm, 1: found[1].p_holm} == holm({0: found[0].p_value, 1: found[1].p_value})
    assert found[0].p_holm > found[0].p_value
    assert found[0].verdict(0.95) == "better"
    same = {key: {"random": group["random"], "other": group["random"]} for key, group in cells.items()}
    twins, _ = compare(same, test, baseline="random", statistics=STATISTICS)
    assert all((row.difference.auroc.low, row.difference.auroc.high) == (0, 0) for row in twins if row.difference)


def test_published_resamples_studies(index: ShardIndex) -> None:
    names = ["Finding"]
    clean = scored_studies(index.where(split="test"), names, choose_protocol(index))
    published = scored_studies(index.where(split="test"), names, choose_protocol(index, "published"))
    assert len(np.unique(clean.clusters)) == NUM // 4
    assert len(np.unique(published.clusters)) == NUM // 2


def test_subgroups_at_the_largest_fraction(index: ShardIndex, cells: dict) -> None:
    test = scored_studies(index.where(split="test"), ["Finding"], choose_protocol(index))
    rows, _ = compare_subgroups(cells, test, baseline="random", statistics=STATISTICS)
    assert {row.fraction for row in rows} == {1.0}
    by_group = {(row.attribute, row.group): row for row in rows if row.start == "pretrained"}
    assert by_group["sex", "F"].num_studies + by_group["sex", "M"].num_studies == NUM // 2
    assert by_group["age", "80+"].auroc is None
    assert "under 10" in str(by_group["age", "80+"].reason)
    assert not any(row.attribute == "projection" for row in rows)


def two_labels(images: ShardIndex, start: str, *, seed: int, readout: str = "linear") -> Cell:
    scores = np.random.default_rng(seed).normal(size=(len(images), 2)).astype(np.float32)
    return Cell(
        key=CellKey(readout=readout, start=start, fraction=1.0, draw=0),
        fingerprint="f",
        labels=("well", "sick"),  # in another order
        test_rows=images.rows,
        scores=scores,
        valid_rows=images.rows[:0],
        valid_scores=scores[:0],
        num_patients=10,
        num_images=[7, 9],
        num_positives=[2, 3],
        is_extended=False,
    )


def test_macro_is_the_mean_over_labels(packed, tmp_path) -> None:
    index = ShardIndex.open(packed)
    labels = ["sick", "well"]
    test = scored_studies(index.where(split="test"), labels, choose_protocol(index))
    images = index.where(split="test")
    by_start = {
        "random": [two_labels(images, "random", seed=0)],
        "pretrained": [two_labels(images, "pretrained", seed=1)],
    }
    cells = {("linear", 1.0): by_start}
    rows, num_dropped = compare(cells, test, baseline="random", statistics=STATISTICS)
    assert [row.label for row in rows] == [MACRO, MACRO, "sick", "sick", "well", "well"]
    assert rows[0].auroc.estimate == pytest.approx(np.mean([rows[2].auroc.estimate, rows[4].auroc.estimate]))
    assert rows[2].auroc.estimate == pytest.approx(
        roc_auc_score(images.labels("sick"), cells["linear", 1.0]["random"][0].scores[:, 1])
    )
    assert (rows[2].draws[0].num_images, rows[0].draws[0].num_images) == (9, 16)
    assert rows[1].difference is not None
    assert rows[1].difference.p_delong is None
    assert num_dropped.keys() == {MACRO, "sick", "well"}


def test_micro_pools_all_labels_of_multimodal_readouts(packed) -> None:
    index = ShardIndex.open(packed)
    labels = ["sick", "well"]
    images = index.where(split="test")
    test = scored_studies(images, labels, choose_protocol(index))
    cell = two_labels(images, "random", seed=0, readout="multimodal")
    rows, _ = compare({("multimodal", 1.0): {"random": [cell]}}, test, baseline="random", statistics=STATISTICS)
    assert [row.label for row in rows] == [MACRO, MICRO, "sick", "well"]
    truth = np.stack([images.labels(label) for label in labels], axis=1)
    assert rows[1].auroc.estimate == pytest.approx(roc_auc_score(truth.ravel(), cell.scores[:, ::-1].ravel()))
    assert rows[1].draws[0].auroc == [pytest.approx(rows[1].auroc.estimate)]
    assert rows[1].draws[0].num_images == 16
    # A study's labels are drawn together, as they are of one patient.
    patients = np.repeat(test.clusters, 2)
    alike = bootstrap(test.labels.ravel(), {"random": test.scores(cell).reshape(1, -1)}, patients, num_replicates=300)
    assert rows[1].auroc == alike.interval("random")
    linear, _ = compare({("linear", 1.0): {"random": [cell]}}, test, baseline="random", statistics=STATISTICS)
    assert [row.label for row in linear] == [MACRO, "sick", "well"]


def test_one_class_in_the_test_set_is_refused(make_index: Callable[[Sequence[dict]], ShardIndex]) -> None:
    rows = [{"patient_id": f"p{number}", "split": "test", "Finding": 0} for number in range(4)]
    index = make_index(rows)
    with pytest.raises(InputError, match="'Finding'.*0 positive and 4 negative"):
        scored_studies(index, ["Finding"], choose_protocol(index, train_split="train"))
