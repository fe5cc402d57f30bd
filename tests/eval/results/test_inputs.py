"""What each input adds: figures against a plain computation, pairing, Holm, and starts without an image."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eval.results.compare import Statistics, compare
from eval.results.inputs import compare_inputs
from eval.stats.interval import holm
from eval.study.cells import Cell, CellKey
from eval.study.protocol import choose_protocol
from eval.study.studies import ScoredStudies, scored_studies
from eval.words import NO_IMAGE
from shards.index import ShardIndex

NUM = 160
STATISTICS = Statistics(num_replicates=200)


@pytest.fixture
def index(make_index: Callable[[Sequence[dict]], ShardIndex]) -> ShardIndex:
    has = np.random.default_rng(0).random(NUM) < 0.4
    return make_index(
        [
            {"patient_id": f"p{number // 2}", "study_id": f"s{number}", "split": "test", "Finding": int(has[number])}
            for number in range(NUM)
        ]
        + [{"patient_id": "q", "split": "train", "Finding": 1}]
    )


@pytest.fixture
def test_set(index: ShardIndex) -> ScoredStudies:
    return scored_studies(index.where(split="test"), ["Finding"], choose_protocol(index))


def cell(index: ShardIndex, readout: str, start: str, *, signal: float, seed: int, draw: int = 0) -> Cell:
    images = index.where(split="test")
    scores = np.random.default_rng(seed).normal(size=NUM) + signal * images.labels("Finding")
    return Cell(
        key=CellKey(readout=readout, start=start, fraction=1.0, draw=draw),
        fingerprint="f",
        labels=("Finding",),
        test_rows=images.rows,
        scores=scores[:, None].astype(np.float32),
        valid_rows=images.rows[:0],
        valid_scores=np.empty((0, 1), dtype=np.float32),
        num_patients=10,
        num_images=[20],
        num_positives=[5],
        is_extended=False,
    )


@pytest.fixture
def cells(index: ShardIndex) -> dict:
    both = [cell(index, "multimodal", f"random-{seed}", signal=2.5, seed=seed) for seed in (1, 2)]
    return {
        ("multimodal", 1.0): {"random": both},
        ("multimodal-image", 1.0): {"random": [cell(index, "multimodal-image", "random-0", signal=0.8, seed=3)] * 2},
        ("multimodal-text", 1.0): {NO_IMAGE: [cell(index, "multimodal-text", NO_IMAGE, signal=0.3, seed=4)]},
        ("linear", 1.0): {"random": [cell(index, "linear", "random", signal=0.3, seed=5)]},
    }


def test_both_inputs_against_each_alone(index: ShardIndex, test_set: ScoredStudies, cells: dict) -> None:
    rows = compare_inputs(cells, test_set, statistics=STATISTICS)
    assert [(row.start, row.alone, row.label) for row in rows] == [
        ("random", "image", "Finding"),
        ("random", "text", "Finding"),
    ]
    truth = index.where(split="test").labels("Finding")
    aurocs = {
        readout: np.mean([roc_auc_score(truth, one.scores[:, 0]) for several in by_start.values() for one in several])
        for (readout, _), by_start in cells.items()
    }
    for row in rows:
        assert row.auroc.estimate == pytest.approx(aurocs["multimodal"] - aurocs[f"multimodal-{row.alone}"])
        assert row.auroc.low < row.auroc.estimate < row.auroc.high
        assert row.verdict(0.95) == "better"
    assert {0: rows[0].p_holm, 1: rows[1].p_holm} == holm({0: rows[0].p_value, 1: rows[1].p_value})


def test_an_input_that_adds_nothing_differs_by_nothing(test_set: ScoredStudies, cells: dict) -> None:
    cells["multimodal-image", 1.0] = cells["multimodal", 1.0]
    image, _ = compare_inputs(cells, test_set, statistics=STATISTICS)
    assert (image.auroc.low, image.auroc.high, image.verdict(0.95)) == (0, 0, "unclear")


def test_without_one_input_alone_there_is_nothing_to_compare(test_set: ScoredStudies, cells: dict) -> None:
    only_text = {key: group for key, group in cells.items() if key[0] != "multimodal-image"}
    assert [row.alone for row in compare_inputs(only_text, test_set, statistics=STATISTICS)] == ["text"]
    alone = {key: group for key, group in cells.items() if key[0] != "multimodal"}
    assert compare_inputs(alone, test_set, statistics=STATISTICS) == []


def test_text_alone_has_no_difference_to_the_baseline(test_set: ScoredStudies, cells: dict) -> None:
    rows, _ = compare(cells, test_set, baseline="random", statistics=STATISTICS)
    (text,) = [row for row in rows if row.readout == "multimodal-text"]
    assert (text.start, text.difference) == (NO_IMAGE, None)
