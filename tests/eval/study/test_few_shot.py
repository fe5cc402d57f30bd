"""k images a class, each of another patient, and more shots hold the fewer."""

import numpy as np
import pytest

from eval.study.draws import few_shot_draw
from eval.study.protocol import choose_protocol
from shards.base.errors import InputError
from shards.index import ShardIndex


@pytest.fixture
def train(make_index):
    """60 patients of three images; every third has the finding, in one of its images in two cases of three."""
    rows = [
        {"patient_id": f"p{patient}", "Finding": int(patient % 3 == 0 and (patient % 9 == 0 or image == 0))}
        for patient in range(60)
        for image in range(3)
    ]
    return make_index([*rows, {"patient_id": "t", "split": "test"}])


def shots(train, count: int, draw: int = 0):
    return few_shot_draw(train.where(split="train"), ["Finding"], count, draw=draw, protocol=choose_protocol(train))


def test_each_class_has_k_images_of_as_many_patients(train) -> None:
    for count in (1, 4, 15):
        drawn = shots(train, count)
        assert (drawn.num_images, drawn.num_positives, drawn.num_patients) == ([2 * count], [count], 2 * count)
        assert drawn.fraction == count
        at = train.positions(drawn.rows)
        np.testing.assert_array_equal(drawn.labels[:, 0], train.labels("Finding")[at])
        np.testing.assert_array_equal(drawn.patients, train.patients()[at])


def test_draws_nest_and_differ(train) -> None:
    assert set(shots(train, 3).rows) < set(shots(train, 4).rows) < set(shots(train, 20).rows)
    assert len({shots(train, 5, draw).hash for draw in range(4)}) == 4
    assert shots(train, 5).hash == shots(train, 5).hash


def test_labels_drawn_for_others_are_unknown(tiny_dataset) -> None:
    index = ShardIndex.open(tiny_dataset)
    labels, protocol = ("blob", "clear"), choose_protocol(index)
    drawn = few_shot_draw(index.where(split="train"), labels, 3, draw=0, protocol=protocol)
    assert (drawn.num_images, drawn.num_positives) == ([6, 6], [3, 3])
    assert len(drawn.rows) > 6  # the labels drew images of their own
    alone = few_shot_draw(index.where(split="train"), labels[1:], 3, draw=0, protocol=protocol)
    assert set(drawn.rows[np.isfinite(drawn.labels[:, 1])]) == set(alone.rows)  # whatever other labels are asked for


def test_more_shots_than_patients_are_refused(train) -> None:
    with pytest.raises(InputError, match="only 20 patients with positive images of 'Finding'"):
        shots(train, 21)
    with pytest.raises(InputError, match="--shots 0"):
        shots(train, 0)
