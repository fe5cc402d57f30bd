"""The mean ROC curve is that of its scores, and a start's cells are those of its own encoders."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eval.results.roc import cells_of, mean_roc
from eval.results.table import CELLS, Comparison
from eval.study.cells import Cell, CellKey, save_cell


def test_area_is_the_auroc() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random(4000) < 0.3).astype(float)
    scores = [generator.normal(labels), np.round(generator.normal(labels))]  # the second with many ties
    curve = mean_roc(labels, scores)
    expected = np.mean([roc_auc_score(labels, one) for one in scores])
    assert np.trapezoid(curve.true_positives, curve.false_positives) == pytest.approx(expected, abs=2e-3)
    assert (curve.false_positives[0], curve.true_positives[0]) == (0, 0)
    assert (curve.false_positives[-1], curve.true_positives[-1]) == (1, 1)


def test_perfect_scores_rise_at_once() -> None:
    curve = mean_roc(np.array([0.0, 0, 1, 1]), [np.array([0.1, 0.2, 0.3, 0.4])])
    assert curve.true_positives[0] == 0
    assert (curve.true_positives[1:] == 1).all()


def test_cells_are_of_the_start_and_its_encoders(tmp_path: Path, comparison: Comparison) -> None:
    def save(start: str, encoder_hash: str, *, draw: int = 0, fraction: float = 0.01) -> None:
        none = np.zeros(0, dtype=np.int64)
        cell = Cell(
            key=CellKey(readout="linear", start=start, fraction=fraction, draw=draw),
            fingerprint="made",
            labels=("Finding",),
            test_rows=np.arange(3),
            scores=np.zeros((3, 1), dtype=np.float32),
            valid_rows=none,
            valid_scores=np.zeros((0, 1), dtype=np.float32),
            num_patients=1,
            num_images=[1],
            num_positives=[1],
            is_extended=False,
            details={"encoder_hash": encoder_hash},
        )
        save_cell(tmp_path / CELLS, cell)

    save("random-0", "0" * 16)
    save("random-1", "2" * 16)
    save("random-2", "9" * 16)  # of a former comparison
    save("random-other", "0" * 16)
    save("random-0", "0" * 16, fraction=1.0)
    save("random-0", "0" * 16, draw=7)  # of a former comparison with more draws
    found = cells_of(tmp_path, comparison, "random", readout="linear", fraction=0.01)
    assert [cell.key.start for cell in found] == ["random-0", "random-1"]
