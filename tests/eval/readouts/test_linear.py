"""The probe learns what is there and nothing else, and never looks at the test images."""

import time

import numpy as np
import pytest

from eval.readouts.linear import DEFAULT_STRENGTH, STRENGTHS, fit
from eval.stats.bootstrap import bootstrap
from eval.stats.metrics import auroc
from shards.base.errors import InputError

NUM_FEATURES = 24


def features_of(labels: np.ndarray, *, seed: int, signal: float = 0.8) -> np.ndarray:
    """Features of very different scales, a quarter of which carry the label."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), NUM_FEATURES))
    noise[:, : NUM_FEATURES // 4] += signal * labels[:, None]
    return (noise * np.logspace(-3, 3, NUM_FEATURES) + 5).astype(np.float32)


def balanced(num_items: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(num_items) % 2).astype(np.float32)


def probe(features, labels, test_features, *, patients=None, valid=None, **settings) -> tuple[np.ndarray, dict]:
    """Test scores (N,) and details of one label; without a validation set unless ``valid`` gives features, labels."""
    valid_features, valid_labels = valid or (np.empty((0, features.shape[1])), np.empty(0))
    patients = np.arange(len(labels)) if patients is None else patients
    _, scores, details = fit(
        features, labels[:, None], patients, valid_features, valid_labels[:, None], test_features, **settings
    )
    return scores[:, 0], details


@pytest.mark.parametrize(("num_labelled", "chosen_by"), [(16, "default"), (300, "folds")])
def test_informative_features_are_found(num_labelled: int, chosen_by: str) -> None:
    labels, test_labels = balanced(num_labelled, 1), balanced(400, 2)
    scores, details = probe(features_of(labels, seed=3), labels, features_of(test_labels, seed=4))
    assert auroc(test_labels, scores) > (0.85 if chosen_by == "folds" else 0.65)
    assert details["chosen_by"] == chosen_by
    assert details["strength"] in (STRENGTHS if chosen_by == "folds" else (DEFAULT_STRENGTH,))
    assert scores.dtype == np.float32


def test_the_strength_is_the_best_on_validation_patients() -> None:
    """Few noisy images call for a strong penalty, and the validation set, not the test set, says so."""
    labels, valid_labels, test_labels = balanced(60, 1), balanced(2000, 5), balanced(400, 2)
    features, valid = features_of(labels, seed=3), (features_of(valid_labels, seed=6), valid_labels)
    scores, details = probe(features, labels, features_of(test_labels, seed=4), valid=valid)
    assert details["chosen_by"] == "validation"
    by_strength = {float(name): value for name, value in details["auroc_by_strength"].items()}
    assert details["strength"] == max(by_strength, key=lambda strength: (by_strength[strength], -strength))
    reversed_scores, reversed_details = probe(
        features, labels, features_of(1 - test_labels, seed=4), valid=valid
    )  # other test images change no choice
    assert reversed_details["strength"] == details["strength"]
    flipped, flipped_details = probe(
        features, labels, features_of(test_labels, seed=4), valid=(valid[0], 1 - valid_labels)
    )
    assert flipped_details["strength"] != details["strength"]  # what is worst for the one is best for the other
    assert len(scores) == len(reversed_scores) == len(flipped) == 400


def test_a_validation_set_with_few_of_a_class_does_not_choose() -> None:
    labels, valid_labels = balanced(300, 1), np.zeros(100, dtype=np.float32)
    valid_labels[:9] = 1
    features, test_features = features_of(labels, seed=3), features_of(labels, seed=4)
    _, details = probe(features, labels, test_features, valid=(features_of(valid_labels, seed=5), valid_labels))
    assert details["chosen_by"] == "folds"


def test_labels_go_together_with_those_that_are_unknown_masked() -> None:
    first, second = balanced(400, 1), balanced(400, 2)
    features = np.hstack([features_of(first, seed=3), features_of(second, seed=4)])
    labels = np.stack([first, second], axis=1)
    labels[:150, 0], labels[350:, :] = np.nan, np.nan
    test = np.stack([balanced(300, 7), balanced(300, 8)], axis=1)
    test_features = np.hstack([features_of(test[:, 0], seed=9), features_of(test[:, 1], seed=10)])
    valid_scores, scores, _ = fit(features, labels, np.arange(400), test_features[:40], test[:40], test_features)
    assert valid_scores.shape == (40, 2)
    np.testing.assert_allclose(valid_scores, scores[:40], rtol=1e-5)
    for number in range(2):
        assert auroc(test[:, number], scores[:, number]) > 0.85
        assert abs(auroc(test[:, 1 - number], scores[:, number]) - 0.5) < 0.1


def test_random_labels_give_chance() -> None:
    labels, test_labels = balanced(300, 1), balanced(400, 2)
    test_features = features_of(test_labels, seed=9, signal=0.0)
    draws = [probe(features_of(labels, seed=seed, signal=0.0), labels, test_features)[0] for seed in range(3)]
    interval = bootstrap(test_labels, {"probe": np.stack(draws)}, np.arange(400)).interval("probe")
    assert not interval.excludes(0.5)


def test_folds_are_of_patients_not_of_images() -> None:
    """Features that all but name the patient: folds by image would reward a weak penalty for knowing them."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(80), 10)
    labels = balanced(80, 1)[patients]
    identity = generator.normal(size=(80, 60))
    features = (identity[patients] + 0.3 * generator.normal(size=(800, 60))).astype(np.float32)
    features[:, 0] += 1.5 * labels
    _, by_image = probe(features, labels, features)
    _, by_patient = probe(features, labels, features, patients=patients)
    assert by_image["chosen_by"] == by_patient["chosen_by"] == "folds"
    assert by_image["auroc_by_strength"]["1"] > 0.95
    assert by_patient["auroc_by_strength"]["1"] < 0.75


def test_features_that_do_not_vary_in_the_draw_are_left_out() -> None:
    labels, test_labels = balanced(100, 1), balanced(100, 2)
    features, test_features = features_of(labels, seed=3), features_of(test_labels, seed=4)
    constant = np.full((100, 1), 0.1, dtype=np.float32)
    wild = np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)
    plain, _ = probe(features, labels, test_features)
    padded, _ = probe(np.hstack([features, constant]), labels, np.hstack([test_features, wild]))
    np.testing.assert_allclose(padded, plain, rtol=1e-3, atol=1e-3)


def test_same_seed_same_probe() -> None:
    labels, features = balanced(200, 1), features_of(balanced(200, 1), seed=3)
    first, second = (probe(features, labels, features, seed=5)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_cannot_be_learnt_from_is_refused() -> None:
    labels, features = balanced(40, 1), features_of(balanced(40, 1), seed=3)
    with pytest.raises(InputError, match="23 and 24 columns.*different encoders"):
        probe(features, labels, features[:, :-1])
    bad = features.copy()
    bad[[3, 5], 0] = np.inf, np.nan
    with pytest.raises(InputError, match="2 of 40 test images are not finite"):
        probe(features, labels, bad)
    with pytest.raises(InputError, match="40 positive and 0 negative"):
        probe(features, np.ones_like(labels), features)


@pytest.mark.slow
def test_a_tenth_of_chexpert_takes_seconds() -> None:
    """19,100 x 512, 14 labels and six strengths: about 4 s on two quiet cores, and some minutes one label at a time."""
    random = np.random.default_rng(0)
    features = random.normal(size=(21_100, 512)).astype(np.float32)
    labels = (features[:, :14] + random.normal(size=(21_100, 14)) > 1).astype(np.float32)
    begin = time.perf_counter()
    fit(features[:19_100], labels[:19_100], np.arange(19_100), features[19_100:], labels[19_100:], features[19_100:])
    assert time.perf_counter() - begin < 60
