"""Do 95 % intervals cover the truth in 95 % of studies? Simulated studies whose AUROCs are known."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from eval.stats.bootstrap import bootstrap, bootstrap_table
from eval.stats.delong import delong
from tests.eval.stats.references import calibration_error

# Scores are normal with the variance below around 0 and a shift for the ill, so the AUROC is that of two normals.
SHIFTS = {"a": 1.0, "b": 1.3}
OF_PATIENT, OF_MODEL, OF_IMAGE = 0.7, 0.4, 0.4  # variances
TRUTH = {model: norm.cdf(shift / np.sqrt(2 * (OF_PATIENT + OF_MODEL + OF_IMAGE))) for model, shift in SHIFTS.items()}
LABELS = ("x", "y")


def simulated_study(generator: np.random.Generator, num_patients: int):
    """Patients of one to four images that share the patient's labels and much of the score, within and across models.

    Returns labels (N, L), scores (1, N, L) of each model, and patients (N,).
    """
    patients = np.repeat(np.arange(num_patients), generator.integers(1, 5, size=num_patients))
    labels = (generator.random((num_patients, len(LABELS))) < (0.4, 0.25))[patients].astype(float)
    shared = np.sqrt(OF_PATIENT) * generator.normal(size=(num_patients, len(LABELS)))
    scores = {}
    for model, shift in SHIFTS.items():
        own = np.sqrt(OF_MODEL) * generator.normal(size=shared.shape)
        noise = np.sqrt(OF_IMAGE) * generator.normal(size=labels.shape)
        scores[model] = (shift * labels + (shared + own)[patients] + noise)[None]
    return labels, scores, patients


def coverage(num_studies: int, *, num_patients: int, num_replicates: int) -> dict[str, float]:
    """The share of simulated studies whose interval holds the truth, by what the interval is of."""
    generator = np.random.default_rng(0)
    num_covered: dict[str, int] = {}
    for study in range(num_studies):
        labels, scores, patients = simulated_study(generator, num_patients)
        table = bootstrap_table(
            labels, scores, patients, label_names=LABELS, num_replicates=num_replicates, seed=study, num_threads=1
        )
        gain = TRUTH["b"] - TRUTH["a"]
        for name, resampled in {"x": table.of("x"), "y": table.of("y"), "mean": table.macro()}.items():
            intervals = {
                f"{name}, a": (resampled.interval("a"), TRUTH["a"]),
                f"{name}, b": (resampled.interval("b"), TRUTH["b"]),
                f"{name}, b - a": (resampled.difference("b", "a"), gain),
            }
            for what, (interval, truth) in intervals.items():
                num_covered[what] = num_covered.get(what, 0) + (not interval.excludes(truth))
    return {what: number / num_studies for what, number in num_covered.items()}


def test_intervals_cover_the_truth_of_60_studies() -> None:
    for what, share in coverage(60, num_patients=150, num_replicates=200).items():
        assert share >= 0.85, what


@pytest.mark.slow
def test_intervals_cover_the_truth_in_93_to_97_percent_of_1000_studies() -> None:
    """Of 500 patients, as many as the CheXpert test set has studies."""
    for what, share in coverage(1000, num_patients=500, num_replicates=1000).items():
        assert 0.93 <= share <= 0.97, what


def test_delong_holds_its_level_where_patients_have_one_image_and_not_where_they_have_several() -> None:
    generator = np.random.default_rng(0)
    num_covered = {"one": 0, "several": 0}
    for _ in range(200):
        labels, scores, patients = simulated_study(generator, 250)
        first = np.unique(patients, return_index=True)[1]
        for name, items in {"one": first, "several": np.arange(len(patients))}.items():
            result = delong(labels[items, 0], {model: values[:, items, 0] for model, values in scores.items()})
            num_covered[name] += not result.interval("a").excludes(TRUTH["a"])
    assert 0.91 <= num_covered["one"] / 200 <= 0.99
    assert num_covered["several"] / 200 < 0.9


@pytest.mark.slow
def test_pivotal_intervals_cover_a_calibration_error_where_percentiles_do_not() -> None:
    """Of logits half as large again as they should be, on 300 test sets of 300 patients."""

    def sample(generator: np.random.Generator, num_patients: int) -> tuple[np.ndarray, np.ndarray]:
        logits = 1.2 * generator.normal(size=num_patients) - 1
        return (generator.random(num_patients) < expit(logits)).astype(float), 1.5 * logits + 0.5

    generator = np.random.default_rng(0)
    labels, logits = sample(generator, 1_000_000)
    truth = calibration_error(labels, expit(logits))
    num_covered = {"pivotal": 0, "percentile": 0}
    for study in range(300):
        labels, logits = sample(generator, 300)
        result = bootstrap(
            labels,
            {"a": logits[None]},
            np.arange(300),
            num_replicates=400,
            seed=study,
            metric="calibration_error",
            num_threads=1,
        )
        low, high = np.quantile(result.replicates["a"], [0.025, 0.975])
        num_covered["pivotal"] += not result.interval("a").excludes(truth)
        num_covered["percentile"] += low <= truth <= high
    assert num_covered["pivotal"] / 300 > 0.85
    assert num_covered["percentile"] / 300 < 0.6
