"""Draws nest, keep patients whole and hold both classes; studies take the maximum over their views."""

import numpy as np
import pytest

from eval.protocol import default_test_split, labelled_draw, require_disjoint, select, study_set
from shards.errors import InputError


def rows_of(num_patients: int, *, every: int, images: int = 3) -> list[dict]:
    """Patients with several images each; every so many patients one has the finding."""
    return [
        {"patient_id": f"p{patient}", "study_id": f"s{image}", "Finding": int(patient % every == 0)}
        for patient in range(num_patients)
        for image in range(images)
    ]


def test_draws_are_nested_and_keep_patients_whole(make_index) -> None:
    train = make_index(rows_of(200, every=3))
    for draw in range(3):
        small = labelled_draw(train, "Finding", 0.05, draw=draw)
        large = labelled_draw(train, "Finding", 0.5, draw=draw)
        assert set(small.rows) < set(large.rows)
        assert len(np.unique(small.patients)) * 3 == len(small.rows)
        assert abs(len(large.rows) - 300) <= 3
        assert not large.is_extended
    draws = [labelled_draw(train, "Finding", 0.5, draw=draw).rows.tolist() for draw in range(3)]
    assert draws[0] != draws[1] != draws[2]
    np.testing.assert_array_equal(labelled_draw(train, "Finding", 1.0, draw=0).rows, train.rows)


def test_labels_and_patients_belong_to_the_rows(make_index) -> None:
    train = make_index(rows_of(60, every=4))
    drawn = labelled_draw(train, "Finding", 0.4, draw=1)
    np.testing.assert_array_equal(drawn.labels, train.take(drawn.rows).labels("Finding"))
    names = train.take(drawn.rows).column("patient_id")
    assert len(set(zip(drawn.patients, names, strict=True))) == len(set(names)) == len(set(drawn.patients))


def test_a_draw_is_extended_by_the_fewest_patients_that_give_both_classes(make_index) -> None:
    train = make_index(rows_of(300, every=60, images=1))
    reference = None
    for num_patients in range(3, 301):
        labels = train.fraction(num_patients / 300, draw=0, seed=0).labels("Finding")
        if (labels == 1).sum() >= 2:
            reference = num_patients
            break
    drawn = labelled_draw(train, "Finding", 0.01, draw=0)
    assert drawn.is_extended
    assert len(drawn.rows) == reference
    assert drawn.labels.sum() == 2
    assert set(drawn.rows) <= set(labelled_draw(train, "Finding", 0.9, draw=0).rows)


def test_a_single_positive_suffices_where_the_split_has_no_more(make_index) -> None:
    train = make_index(rows_of(50, every=50, images=1))
    assert labelled_draw(train, "Finding", 0.1, draw=0).labels.sum() == 1


def test_policies_decide_what_uncertain_counts_as(make_index) -> None:
    rows = [{"patient_id": f"p{i}", "Finding": value} for i, value in enumerate([1, 1, 0, 0, -1, -1, None])]
    train = make_index(rows)
    ignore = labelled_draw(train, "Finding", 1.0, draw=0)
    assert (len(ignore.rows), int(ignore.labels.sum()), len(ignore.drawn_rows)) == (5, 2, 7)
    ones = labelled_draw(train, "Finding", 1.0, draw=0, policy="ones")
    assert (len(ones.rows), int(ones.labels.sum())) == (7, 4)
    zeros = labelled_draw(train, "Finding", 1.0, draw=0, policy="zeros")
    assert (len(zeros.rows), int(zeros.labels.sum())) == (7, 2)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_fraction_out_of_range_is_refused(make_index, fraction: float) -> None:
    with pytest.raises(InputError, match="fraction"):
        labelled_draw(make_index(rows_of(9, every=3)), "Finding", fraction, draw=0)


def test_one_class_is_refused_in_training_and_test(make_index) -> None:
    index = make_index(rows_of(9, every=1))
    with pytest.raises(InputError, match="27 positive and 0 negative"):
        labelled_draw(index, "Finding", 1.0, draw=0)
    with pytest.raises(InputError, match="27 positive and 0 negative"):
        study_set(index, "Finding")
    with pytest.raises(InputError, match="known: Finding"):
        study_set(index, "Nonsense")


def test_study_scores_are_maxima_over_views(make_index) -> None:
    test = make_index(
        [
            {"patient_id": "a", "study_id": "s1", "Finding": 1},
            {"patient_id": "b", "study_id": "s1", "Finding": 0},  # the same study name, of another patient
            {"patient_id": "a", "study_id": "s1", "Finding": 0},
            {"patient_id": "a", "study_id": "s2", "Finding": 0},
            {"patient_id": "b", "study_id": "", "Finding": 1},  # without study: each its own
            {"patient_id": "b", "study_id": "", "Finding": 0},
            {"patient_id": "c", "study_id": "s1", "Finding": -1},  # uncertain: not scored
        ]
    )
    studies = study_set(test, "Finding")
    assert studies.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(studies.labels) == 5
    image_scores = np.array([0.1, 0.2, 0.9, 0.4, 0.5, 0.6])
    expected = {(0, 2): (1, 0.9), (1,): (0, 0.2), (3,): (0, 0.4), (4,): (1, 0.5), (5,): (0, 0.6)}
    scores = studies.scores(image_scores)
    found = {
        tuple(np.flatnonzero(studies.studies == i).tolist()): (studies.labels[i], scores[i])
        for i in range(len(studies.labels))
    }
    assert found == expected
    assert len(np.unique(studies.patients)) == 2
    by_patient = {studies.patients[studies.studies[i]] for i in (0, 3)}
    assert len(by_patient) == 1


def test_selection_by_split_and_view(make_index) -> None:
    index = make_index(
        [{"patient_id": "a", "split": "valid", "view": view} for view in ("frontal", "lateral", "frontal")]
    )
    assert default_test_split(index) == "valid"
    assert len(select(index, split="valid")) == 3
    assert select(index, split="valid", view="lateral").rows.tolist() == [1]
    with pytest.raises(InputError, match="split 'test'"):
        select(index, split="test")


def test_default_test_split_prefers_test_and_refuses_none(make_index) -> None:
    rows = [{"patient_id": f"p{split}", "split": split} for split in ("train", "valid", "test")]
    assert default_test_split(make_index(rows)) == "test"
    with pytest.raises(InputError, match="--test-split"):
        default_test_split(make_index(rows[:1]))


def test_shared_patients_are_refused_by_name(make_index) -> None:
    index = make_index([{"patient_id": "Ann", "split": "train"}, {"patient_id": "Ann", "split": "test"}])
    with pytest.raises(InputError, match="such as Ann"):
        require_disjoint(select(index, split="train"), select(index, split="test"))
