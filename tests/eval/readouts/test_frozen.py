"""A cell of frozen features meets its own labels, whatever the order of the features."""

import numpy as np
import pytest

from eval.readouts.frozen import RowFeatures, frozen_readout, frozen_scores
from eval.stats.metrics import auroc
from eval.study.cells import CellKey, cell_of_draw, load_cell, save_cell
from eval.study.draws import few_shot_draw, label_matrix, labelled_draws
from eval.study.partition import partition
from eval.study.protocol import choose_protocol
from shards.base.errors import InputError


@pytest.fixture
def index(make_index):
    return make_index(
        [
            {"patient_id": f"{split}{number}", "split": split, "Finding": [0, 1, 0, -1][number % 4]}
            for split, count in (("train", 160), ("valid", 60), ("test", 80))
            for number in range(count)
        ]
    )


def features_of(index) -> RowFeatures:
    """Features that carry the label, in an order of their own."""
    random = np.random.default_rng(0)
    rows = random.permutation(index.rows)
    labels = np.nan_to_num(index.labels("Finding")[index.positions(rows)])
    return RowFeatures(rows, (random.normal(size=(len(rows), 6)) + 2 * labels[:, None]).astype(np.float32))


@pytest.mark.parametrize("name", ["linear", "few-shot", "knn"])
def test_a_cell_scores_all_test_images(index, name: str, tmp_path) -> None:
    protocol = choose_protocol(index)
    parts = partition(index, protocol)
    if name == "few-shot":
        draw = few_shot_draw(parts.train, ["Finding"], 8, draw=1, protocol=protocol)
    else:
        draw = labelled_draws(parts.train, ["Finding"], {0.5: [1]}, protocol=protocol)[0]
    valid_labels = label_matrix(parts.valid, ["Finding"], protocol.uncertain)
    scores = frozen_scores(frozen_readout(name), draw, parts, features_of(index), valid_labels=valid_labels)
    key = CellKey(readout=name, start="pretrained", fraction=draw.fraction, draw=1)
    cell = cell_of_draw(key, draw, parts, scores, labels=["Finding"], fingerprint="f", encoder_hash="e")
    np.testing.assert_array_equal(cell.test_rows, parts.test.rows)
    np.testing.assert_array_equal(cell.valid_rows, parts.valid.rows)
    labels = parts.test.labels("Finding")
    assert auroc(labels[np.isfinite(labels)], cell.scores[np.isfinite(labels), 0]) > 0.95
    assert cell.num_patients == (16 if name == "few-shot" else 80)
    assert cell.num_images == [int(np.isfinite(draw.labels).sum())]
    assert cell.details["encoder_hash"] == "e"
    save_cell(tmp_path, cell)
    assert load_cell(tmp_path, cell.key, fingerprint="f") is not None


def test_features_that_are_missing_are_refused(index) -> None:
    features = features_of(index)
    with pytest.raises(InputError, match="1 of 300 images have none"):
        RowFeatures(features.rows[1:], features.values[1:]).at(index.rows)


def test_an_unknown_readout_is_refused() -> None:
    with pytest.raises(InputError, match="'linnear'.*linear, knn, few-shot"):
        frozen_readout("linnear")
