"""The label model: the shares of the real tables, and labels that follow what the patient has."""

import numpy as np
import pytest

from shards.phantom.labels import draw_illness, draw_severities, draw_train_labels, valid_labels
from shards.sources.reports.chexpert import LABELS


@pytest.fixture(scope="module")
def studies() -> list[tuple[dict[str, float], dict[str, str]]]:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        severities = draw_severities(rng, draw_illness(rng), split="train")
        drawn.append((severities, draw_train_labels(rng, severities)))
    return drawn


@pytest.mark.parametrize(
    ("label", "positive", "negative", "uncertain"),
    [
        ("Pleural Effusion", 86_187, 35_396, 11_628),
        ("Edema", 52_246, 20_726, 12_984),
        ("Atelectasis", 33_376, 1_328, 33_739),
        ("Support Devices", 116_001, 6_137, 1_079),
    ],
)
def test_training_shares_are_those_of_the_release(
    studies: list[tuple[dict[str, float], dict[str, str]]], label: str, positive: int, negative: int, uncertain: int
) -> None:
    values = [labels[label] for _, labels in studies]
    for value, count in (("1.0", positive), ("0.0", negative), ("-1.0", uncertain)):
        assert values.count(value) / len(values) == pytest.approx(count / 223_414, abs=0.025)


def test_no_finding_is_as_common_as_in_the_release(studies: list[tuple[dict[str, float], dict[str, str]]]) -> None:
    assert np.mean([labels["No Finding"] == "1.0" for _, labels in studies]) == pytest.approx(0.1, abs=0.035)


def test_labels_follow_the_findings_and_mild_ones_are_missed_more(
    studies: list[tuple[dict[str, float], dict[str, str]]],
) -> None:
    pairs = [(severities["Pleural Effusion"], labels["Pleural Effusion"] == "1.0") for severities, labels in studies]
    absent = np.mean([said for severity, said in pairs if severity == 0])
    mild = np.mean([said for severity, said in pairs if 0 < severity < 0.2])
    severe = np.mean([said for severity, said in pairs if severity > 0.8])
    assert absent < 0.05
    assert mild < severe - 0.1


def test_findings_of_heart_failure_come_together(studies: list[tuple[dict[str, float], dict[str, str]]]) -> None:
    present = {label: np.array([s[label] > 0 for s, _ in studies]) for label in ("Edema", "Pleural Effusion")}
    with_edema = present["Pleural Effusion"][present["Edema"]].mean()
    assert with_edema > present["Pleural Effusion"][~present["Edema"]].mean() + 0.15


def test_studies_of_a_patient_resemble_one_another() -> None:
    rng = np.random.default_rng(1)
    agreements = []
    for _ in range(600):
        illness = draw_illness(rng)
        pair = [draw_severities(rng, illness, split="train")["Pleural Effusion"] > 0 for _ in range(2)]
        agreements.append(pair[0] == pair[1])
    assert np.mean(agreements) > 0.62


def test_valid_labels_are_never_blank_or_uncertain() -> None:
    rng = np.random.default_rng(2)
    drawn = [valid_labels(draw_severities(rng, draw_illness(rng), split="valid")) for _ in range(1500)]
    assert all(tuple(labels) == LABELS and set(labels.values()) <= {"1.0", "0.0"} for labels in drawn)
    assert np.mean([labels["Pleural Effusion"] == "1.0" for labels in drawn]) == pytest.approx(67 / 234, abs=0.04)
