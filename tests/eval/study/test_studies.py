"""Studies take the maximum over their views, and the bootstrap's clusters are patients or studies."""

import numpy as np
import pytest

from eval.study.protocol import choose_protocol
from eval.study.studies import scored_studies, study_set
from shards.base.errors import InputError
from shards.format.blank import UNKNOWN

ROWS = [
    {"patient_id": "a", "study_id": "s1", "Finding": 1},
    {"patient_id": "b", "study_id": "s1", "Finding": 0},  # the same study name, of another patient
    {"patient_id": "a", "study_id": "s1", "Finding": 0},
    {"patient_id": "a", "study_id": "s2", "Finding": 0},
    {"patient_id": "b", "study_id": "", "Finding": 1},  # without study: each its own
    {"patient_id": "b", "study_id": "", "Finding": 0},
    {"patient_id": "c", "study_id": "s1", "Finding": -1},  # uncertain: not scored
]


def test_study_scores_are_maxima_over_views(make_index) -> None:
    studies = study_set(make_index(ROWS), "Finding")
    assert studies.rows.tolist() == [0, 1, 2, 3, 4, 5]
    image_scores = np.array([0.1, 0.2, 0.9, 0.4, 0.5, 0.6])
    expected = {(0, 2): (1, 0.9), (1,): (0, 0.2), (3,): (0, 0.4), (4,): (1, 0.5), (5,): (0, 0.6)}
    scores = studies.scores(image_scores)
    found = {
        tuple(np.flatnonzero(studies.studies == i).tolist()): (studies.labels[i], scores[i])
        for i in range(len(studies.labels))
    }
    assert found == expected
    assert studies.studies[np.searchsorted(studies.rows, studies.first_rows)].tolist() == list(range(5))


def test_scores_are_found_by_row_among_those_of_all_images(make_index) -> None:
    studies = study_set(make_index(ROWS), "Finding")
    rows = np.array([6, 3, 0, 5, 1, 4, 2])
    np.testing.assert_array_equal(studies.scores_of(rows, rows / 10), studies.scores(np.arange(6) / 10))
    with pytest.raises(AssertionError, match="not scored"):
        studies.scores_of(rows[:3], rows[:3] / 10)


def test_clusters_are_patients_or_studies(make_index) -> None:
    index = make_index(ROWS)
    studies = study_set(index, "Finding")
    for name, count in (("clean", 2), ("published", 5)):
        protocol = choose_protocol(index, name, test_split="test")
        assert len(np.unique(scored_studies(index, ["Finding"], protocol).clusters)) == count
    assert len({studies.patients[studies.studies[row]] for row in (0, 3)}) == 1


def test_clusters_of_several_labels_are_the_patients_of_all(make_index) -> None:
    """Each label is known of other studies; a patient's number is one, whichever labels its studies have."""
    unknown = UNKNOWN
    said = [("a", 1, unknown), ("b", 0, 1), ("c", unknown, 0), ("c", unknown, 1), ("d", 1, 0), ("b", 0, unknown)]
    rows = [
        {"patient_id": patient, "study_id": f"s{number}", "Finding": one, "Other": other}
        for number, (patient, one, other) in enumerate(said)
    ]
    index = make_index(rows, ("Finding", "Other"))
    found = scored_studies(index, ["Finding", "Other"], choose_protocol(index, test_split="test"))
    names = index.column("patient_id")[index.positions(found.images.rows)][np.argsort(found.items)]
    assert sorted(names) == ["a", "b", "b", "c", "c", "d"]
    for one, other in ((i, j) for i in range(6) for j in range(6)):
        assert (names[one] == names[other]) == (found.clusters[one] == found.clusters[other])


def test_one_class_is_refused_where_both_are_needed(make_index) -> None:
    index = make_index([{"patient_id": f"p{i}", "Finding": 1} for i in range(4)])
    with pytest.raises(InputError, match="4 positive and 0 negative studies"):
        study_set(index, "Finding")
    with pytest.raises(InputError, match="known: Finding"):
        study_set(index, "Nonsense")
