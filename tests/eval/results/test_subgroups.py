"""Subgroups hold the right studies, every one once; small ones get a reason instead of figures."""

import numpy as np
import pytest

from eval.results.subgroups import Subgroup, subgroup_results, subgroups
from eval.stats.bootstrap import bootstrap
from eval.stats.metrics import auroc


def members(groups: list[Subgroup], attribute: str) -> dict[str, list[int]]:
    return {group.name: np.flatnonzero(group.members).tolist() for group in groups if group.attribute == attribute}


def test_studies_belong_to_what_their_images_say(make_index) -> None:
    images = make_index(
        [
            {"patient_id": "a", "sex": "F", "age": 39.9, "projection": "AP"},
            {"patient_id": "a", "sex": "F", "age": 39.9, "projection": "LL"},
            {"patient_id": "b", "sex": "M", "age": 40.0, "projection": "PA"},
            {"patient_id": "b", "sex": "M", "age": 40.0, "projection": "AP"},
            {"patient_id": "c", "sex": None, "age": None, "projection": "LL"},
            {"patient_id": "d", "sex": "M", "age": 80.0, "projection": "PA"},
            {"patient_id": "d", "sex": "M", "age": 80.0, "projection": "PA"},
            {"patient_id": "e", "sex": "F", "age": 59.5, "projection": "PA"},
        ]
    )
    groups = subgroups(images, np.array([0, 0, 1, 1, 2, 3, 3, 4]))
    assert members(groups, "sex") == {"F": [0, 4], "M": [1, 3], "not stated": [2]}
    assert members(groups, "age") == {"<40": [0], "40-59": [1, 4], "80+": [3], "not stated": [2]}
    assert members(groups, "projection") == {"AP": [0], "PA": [3, 4], "mixed": [1], "not stated": [2]}


def test_age_limits_are_given_and_attributes_without_values_are_left_out(make_index) -> None:
    images = make_index([{"patient_id": f"p{age}", "age": age} for age in (3, 17, 18, 65)])
    groups = subgroups(images, np.arange(4), age_limits=(18, 65))
    assert members(groups, "age") == {"<18": [0, 1], "18-64": [2], "65+": [3]}
    assert {group.attribute for group in groups} == {"age"}


def scored(num_items: int = 120):
    """Labels with some missing, scores of two models, patients of two items each, and three groups."""
    generator = np.random.default_rng(0)
    labels = (generator.random(num_items) < 0.4).astype(float)
    labels[::10] = np.nan
    scores = {model: generator.normal(size=(2, num_items)) + np.nan_to_num(labels) for model in "ab"}
    places = np.arange(num_items)
    groups = [
        Subgroup(attribute="sex", name="F", members=places < 80),
        Subgroup(attribute="sex", name="M", members=(places >= 80) & (places < 112)),
        Subgroup(attribute="sex", name="not stated", members=places >= 112),
    ]
    return labels, scores, places // 2, groups


def test_counts_and_aurocs_are_those_of_the_members() -> None:
    labels, scores, patients, groups = scored()
    large, *_ = subgroup_results(labels, scores, patients, groups, baseline="a", num_replicates=300, seed=4)
    kept = np.flatnonzero((np.arange(120) < 80) & np.isfinite(labels))
    assert (large.attribute, large.name, large.reason) == ("sex", "F", None)
    assert (large.num_items, large.num_patients, large.num_positives) == (72, 40, labels[kept].sum())
    assert large.auroc["b"].estimate == pytest.approx(np.mean([auroc(labels[kept], s[kept]) for s in scores["b"]]))
    alone = bootstrap(
        labels[kept], {m: s[:, kept] for m, s in scores.items()}, patients[kept], num_replicates=300, seed=4
    )
    assert large.auroc == {"a": alone.interval("a"), "b": alone.interval("b")}
    assert large.difference == {"b": alone.difference("b", "a")}


def test_too_few_patients_of_a_class_get_a_reason_instead_of_figures() -> None:
    labels, scores, patients, groups = scored()
    _, middle, small = subgroup_results(labels, scores, patients, groups, baseline="a", num_replicates=100)
    assert small.reason == "3 patients with the finding, under 10"
    assert not small.auroc
    assert not small.difference
    assert small.num_items == 8
    assert middle.reason is not None
    (met,) = subgroup_results(labels, scores, patients, groups[1:2], minimum=2, num_replicates=100)
    assert met.reason is None
    assert not met.difference  # no baseline was named


def test_one_patient_with_many_images_does_not_reach_the_minimum() -> None:
    labels = np.r_[np.ones(30), np.zeros(30)]
    patients = np.r_[np.zeros(30), np.arange(1, 31)]
    everyone = [Subgroup(attribute="sex", name="F", members=np.ones(60, dtype=bool))]
    (result,) = subgroup_results(labels, {"a": np.arange(60.0)[None]}, patients, everyone)
    assert result.reason == "1 patient with the finding, under 10"


def test_an_empty_subgroup_has_nobody() -> None:
    labels, scores, patients, _ = scored()
    nobody = [Subgroup(attribute="sex", name="F", members=np.zeros(120, dtype=bool))]
    (result,) = subgroup_results(labels, scores, patients, nobody)
    assert (result.num_items, result.reason) == (0, "0 patients with the finding, under 10")
