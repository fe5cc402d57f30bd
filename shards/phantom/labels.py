"""The 14 CheXpert labels of a phantom study: what the patient has, and what the labeller reads in the report.

Shares of the training labels are those of the real ``train.csv`` (223,414 rows), of the validation labels those of
the real ``valid.csv`` (234 rows). What the patient has follows a Gaussian copula, so heart failure brings effusion,
edema and a large heart together, and illness brings devices; how much of it the report says depends on severity.
"""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from shards.sources.reports.chexpert import LABELS

_TRAIN_ROWS = 223_414
_VALID_ROWS = 234
# Rows of train.csv that are 1.0, 0.0 and -1.0, then rows of valid.csv that are 1.0. Pleural effusion's training counts
# are the release's; the others are near it, and no source was at hand to check them.
_COUNTS = {
    "Enlarged Cardiomediastinum": (10_798, 21_638, 12_403, 109),
    "Cardiomegaly": (27_000, 11_116, 8_087, 68),
    "Lung Opacity": (105_581, 6_599, 5_598, 126),
    "Lung Lesion": (9_186, 1_270, 1_488, 1),
    "Edema": (52_246, 20_726, 12_984, 45),
    "Consolidation": (14_783, 28_097, 27_742, 33),
    "Pneumonia": (6_039, 2_799, 18_770, 8),
    "Atelectasis": (33_376, 1_328, 33_739, 80),
    "Pneumothorax": (19_448, 56_341, 3_145, 8),
    "Pleural Effusion": (86_187, 35_396, 11_628, 67),
    "Pleural Other": (3_523, 316, 2_653, 1),
    "Fracture": (9_040, 2_512, 642, 0),
    "Support Devices": (116_001, 6_137, 1_079, 107),
}
FINDINGS = tuple(_COUNTS)
# How strongly each finding follows heart failure, infection, general illness, trauma or surgery.
_LOADINGS = {
    "Enlarged Cardiomediastinum": (0.45, 0.0, 0.2, 0.1),
    "Cardiomegaly": (0.6, 0.0, 0.1, 0.0),
    "Lung Opacity": (0.2, 0.6, 0.3, 0.1),
    "Lung Lesion": (0.0, 0.2, 0.1, 0.0),
    "Edema": (0.65, 0.0, 0.3, 0.0),
    "Consolidation": (0.0, 0.65, 0.3, 0.0),
    "Pneumonia": (0.0, 0.75, 0.1, 0.0),
    "Atelectasis": (0.15, 0.2, 0.4, 0.2),
    "Pneumothorax": (-0.1, 0.0, 0.15, 0.6),
    "Pleural Effusion": (0.45, 0.2, 0.35, 0.2),
    "Pleural Other": (0.0, 0.2, 0.0, 0.2),
    "Fracture": (0.0, 0.0, 0.0, 0.5),
    "Support Devices": (0.15, 0.1, 0.6, 0.3),
}
# Among rows that read 1.0, -1.0, blank or 0.0: the share that has the finding. Blank mostly means absent.
_PRESENT_GIVEN = {"1.0": 0.96, "-1.0": 0.5, "": 0.06, "0.0": 0.02}
_NO_FINDING_KEPT = 0.8
_NORMAL = NormalDist()


def _train_shares(label: str) -> dict[str, float]:
    positive, negative, uncertain, _ = _COUNTS[label]
    blank = _TRAIN_ROWS - positive - negative - uncertain
    counts = {"1.0": positive, "-1.0": uncertain, "": blank, "0.0": negative}
    return {value: count / _TRAIN_ROWS for value, count in counts.items()}


_SHARES = {label: _train_shares(label) for label in _COUNTS}
_PREVALENCE = {
    "train": {
        label: sum(_PRESENT_GIVEN[value] * share for value, share in shares.items())
        for label, shares in _SHARES.items()
    },
    "valid": {label: counts[3] / _VALID_ROWS for label, counts in _COUNTS.items()},
}


def draw_illness(rng: np.random.Generator) -> np.ndarray:
    """(4 + labels,) a patient's lasting tendencies: the shared factors, then one of each finding's own."""
    return rng.standard_normal(4 + len(_COUNTS))


def draw_severities(rng: np.random.Generator, illness: np.ndarray, *, split: str) -> dict[str, float]:
    """Severity quantile of each finding in one study, 0 where absent; studies of a patient resemble one another."""
    state = np.sqrt(0.65) * illness + np.sqrt(0.35) * rng.standard_normal(len(illness))
    severities = {}
    for position, (label, loading) in enumerate(_LOADINGS.items()):
        weights = np.array(loading)
        own = np.sqrt(1 - float(weights @ weights))
        rank = _NORMAL.cdf(float(weights @ state[:4] + own * state[4 + position]))
        prevalence = _PREVALENCE[split][label]
        severities[label] = max((rank - (1 - prevalence)) / prevalence, 0.0) if prevalence > 0 else 0.0
    return severities


def draw_train_labels(rng: np.random.Generator, severities: Mapping[str, float]) -> dict[str, str]:
    """Values as in train.csv: ``1.0``, ``0.0``, ``-1.0`` or blank; mild findings are missed or hedged more often."""
    values: dict[str, str] = {}
    for label, shares in _SHARES.items():
        severity = severities[label]
        present = severity > 0
        noise = rng.standard_normal()
        if present:
            latent = 0.6 * _NORMAL.inv_cdf(min(max(severity, 1e-6), 1 - 1e-6)) + 0.8 * noise
            rank = _NORMAL.cdf(latent)
        else:
            rank = _NORMAL.cdf(noise)
        prevalence = _PREVALENCE["train"][label]
        # Ordered from least to most said about the finding.
        reach = 0.0
        for value in ("0.0", "", "-1.0", "1.0"):
            given = _PRESENT_GIVEN[value]
            share = shares[value] * (given / prevalence if present else (1 - given) / (1 - prevalence))
            reach += share
            if rank < reach or value == "1.0":
                values[label] = value
                break
    clean = all(values[label] not in ("1.0", "-1.0") for label in _COUNTS if label != "Support Devices")
    values["No Finding"] = "1.0" if clean and rng.random() < _NO_FINDING_KEPT else ""
    return {label: values[label] for label in LABELS}


def valid_labels(severities: Mapping[str, float]) -> dict[str, str]:
    """Values as in valid.csv, where radiologists looked at the images: ``1.0`` or ``0.0``, nothing blank."""
    values = {label: "1.0" if severities[label] > 0 else "0.0" for label in _COUNTS}
    clean = all(values[label] == "0.0" for label in _COUNTS if label != "Support Devices")
    values["No Finding"] = "1.0" if clean else "0.0"
    return {label: values[label] for label in LABELS}
