"""What an evaluation found, with what is needed to repeat it, as a JSON file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.stats import Interval
from shards.errors import InputError

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Start:
    """A way to start that was compared: one encoder, or several of one architecture whose AUROCs are averaged.
    ``seeds`` are those of random starts."""

    encoder: str
    hashes: list[str]
    num_features: int
    seeds: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class DrawResult:
    """One label draw: what it held, and by start the test AUROC and the regularisation used, one of each encoder."""

    draw: int
    num_patients: int
    num_images: int
    num_positives: int
    is_extended: bool
    is_cross_validated: bool
    auroc: dict[str, list[float]]
    strength: dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class FractionResult:
    """One label fraction: its draws, the mean AUROC of each start, and each start minus the baseline, paired."""

    fraction: float
    draws: list[DrawResult]
    auroc: dict[str, Interval]
    difference: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class TestCounts:
    """What the test set held under the label policy."""

    __test__ = False  # not a test case, whatever its name says to pytest

    num_images: int
    num_studies: int
    num_patients: int
    num_positive_studies: int


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """One readout of one label of one dataset, over label fractions and starts.

    ``starts`` is ordered and holds the ``baseline``. ``num_dropped`` bootstrap resamples held one class only.
    ``seconds`` are wall times by phase. ``fingerprints`` name the images of the two splits, ``datasets`` what was
    packed.
    """

    readout: str
    command: str
    run: str
    starts: dict[str, Start]
    baseline: str
    dataset: str
    datasets: list[str]
    fingerprints: dict[str, str]
    label: str
    uncertain: str
    view: str
    train_split: str
    test_split: str
    test: TestCounts
    fractions: list[FractionResult]
    seed: int
    level: float
    num_replicates: int
    num_dropped: int
    views: dict[str, Any]
    versions: dict[str, str]
    seconds: dict[str, float]


def save_result(result: ProbeResult, path: Path) -> None:
    """Writes ``path`` as JSON, and its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps({"format_version": FORMAT_VERSION, **asdict(result)}, indent=2) + "\n")
    aside.replace(path)


def load_result(path: Path) -> ProbeResult:
    """Reads what :func:`save_result` wrote.

    Raises:
        InputError: a missing file, one that is no result, or one of another format version.
    """
    if not path.is_file():
        raise InputError(f"result {path}: no such file; write one with: python -m eval linear")
    try:
        stored = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"result {path}: not JSON; give a file that `python -m eval linear` wrote") from None
    version = stored.pop("format_version", None) if isinstance(stored, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"result {path}: format version {version}, but this version of moco-cxr reads {FORMAT_VERSION}; "
            "repeat the evaluation"
        )
    try:
        return ProbeResult(
            **stored
            | {
                "starts": {name: Start(**start) for name, start in stored["starts"].items()},
                "test": TestCounts(**stored["test"]),
                "fractions": [_fraction(fraction) for fraction in stored["fractions"]],
            }
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"result {path}: damaged ({error}); repeat the evaluation") from None


def _fraction(stored: dict[str, Any]) -> FractionResult:
    return FractionResult(
        fraction=stored["fraction"],
        draws=[DrawResult(**draw) for draw in stored["draws"]],
        auroc={name: Interval(**interval) for name, interval in stored["auroc"].items()},
        difference={name: Interval(**interval) for name, interval in stored["difference"].items()},
    )
