"""What a comparison found, with what is needed to repeat it: ``results.json`` (:mod:`eval.results.file`) in its folder,
and ``cells/`` beside it, from which it was computed (:mod:`eval.study.cells`).

A comparison is a table: one :class:`Row` for each readout, label, fraction and start, in that order. Where there are
several labels, the rows of ``MACRO`` come first and hold the means over them, and multimodal readouts also have
``MICRO``. Numbers that do not exist (a difference of the baseline to itself, an interval of too few resamples) are
``None``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from eval.foreign.kinds import WORDS, is_foreign
from eval.readouts.registry import READOUTS, Inputs
from eval.stats.interval import Interval, Verdict, verdict
from eval.study.studies import TestCounts
from eval.words import MACRO
from train.encoders.starts.packages import PACKAGE

CELLS = "cells"
RateName = Literal["true positive", "false positive"]


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How many of the test images pretraining saw, and of how many of the test patients it saw any image."""

    num_images: int
    num_patients: int
    of_images: int
    of_patients: int


@dataclass(frozen=True, kw_only=True)
class StartResult:
    """A way to start that was compared: one encoder, or several of one architecture whose figures are averaged.

    ``sources`` are what the command named: run folders, a file, words for others; none of ``NO_IMAGE``.
    ``hashes`` has one entry an encoder, ``seeds`` too where the start is random. ``exposure`` is what its pretraining
    saw of the test set, of the encoder that saw most, and ``num_seen`` its images; where ``exposure`` is not known,
    these are the test images of datasets and splits that pretraining took images of. ``about`` says of models of
    others what goes into them, and what is taken of them; ``layers`` are the modules that frozen readouts read, none
    where they read what the encoder ends in.
    """

    encoder: str
    sources: list[str]
    hashes: list[str]
    num_features: int
    seeds: list[int] | None = None
    num_seen: int = 0
    exposure: Exposure | None = None
    about: str = ""
    layers: list[str] = field(default_factory=list)

    @property
    def is_run(self) -> bool:
        """Whether it is weights of the user's own, not a random or supervised start."""
        return bool(self.sources) and not any(
            source in WORDS or source.startswith(PACKAGE) or is_foreign(source) for source in self.sources
        )


@dataclass(frozen=True, kw_only=True)
class DrawResult:
    """One label draw of a row: what it held of the label, and the test AUROC of each of the start's encoders.

    ``details`` are the readout's own: the strength it chose, its epochs, seconds. In rows of ``MACRO`` images and
    positives are sums over the labels.
    """

    draw: int
    num_patients: int
    num_images: int
    num_positives: int
    is_extended: bool
    auroc: list[float]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """One bin of a reliability curve, over all draws: the studies in it, their mean probability, the positive share."""

    num_studies: int
    mean_probability: float
    positive_share: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """AUROC minus that of the start ``against``, on the same resamples.

    ``p_value`` is two-sided, of the bootstrap; ``p_holm`` the same held against all differences of the comparison;
    ``delong`` the interval, ``p_delong`` the p-value after DeLong, as a cross-check (one label, images as if
    independent).
    """

    against: str
    auroc: Interval
    p_value: float
    p_holm: float
    delong: Interval | None = None
    p_delong: float | None = None

    def verdict(self, level: float) -> Verdict:
        """Whether the difference is sure at ``level`` after Holm, and its direction."""
        return verdict(self.auroc.estimate, self.p_holm, level)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One readout of one label at one fraction from one start: means over its draws and encoders.

    ``fraction`` is the share of the training labels; of a readout by shots it is the number of images a class.
    """

    readout: str
    fraction: float
    label: str
    start: str
    auroc: Interval
    average_precision: Interval
    sensitivity: Interval
    ece: Interval
    draws: list[DrawResult]
    difference: Difference | None = None
    reliability: list[Bin] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SubgroupRow:
    """One group of the test set in one row of the table. Without ``auroc``, ``reason`` says why it is not given.

    ``attribute`` is ``sex``, ``age``, ``projection`` or a column that was kept. ``difference`` is to the baseline, in
    the group. The rates are at the threshold that was fixed on validation (:mod:`eval.results.rates`); results of
    earlier versions have none.
    """

    readout: str
    fraction: float
    label: str
    start: str
    attribute: str
    group: str
    num_studies: int
    num_patients: int
    num_positive_studies: int
    auroc: Interval | None = None
    difference: Interval | None = None
    reason: str | None = None
    true_positive_rate: Interval | None = None
    false_positive_rate: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """How far a rate of one attribute's worst group lies from that of its best, at least 0; of true positives the worst
    group is the one whose ill are missed most, of false positives the one whose well are alarmed most.

    ``size`` has the interval of the difference of these two groups on resamples of the test patients, which may hold 0.
    """

    readout: str
    fraction: float
    label: str
    start: str
    attribute: str
    rate: RateName
    worst: str
    best: str
    size: Interval


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """What a second input adds: AUROC of both inputs minus that of one alone, from the same start, on the same
    resamples. ``p_holm`` is held against all such rows."""

    fraction: float
    label: str
    start: str
    alone: Inputs
    auroc: Interval
    p_value: float
    p_holm: float

    def verdict(self, level: float) -> Verdict:
        """Whether both are better than one, sure at ``level`` after Holm."""
        return verdict(self.auroc.estimate, self.p_holm, level)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Starts, readouts and fractions compared on labels of one dataset.

    ``starts`` is ordered and holds the ``baseline``. ``gaps`` are those of the subgroups' rates; results of earlier
    versions have none. ``inputs`` is of multimodal readouts only. ``protocol`` is
    :class:`eval.study.protocol.Protocol` as a mapping, ``config`` what was asked for. ``specificity`` is where
    ``Row.sensitivity`` is read. ``num_dropped`` says for each label how many resamples held one class only. ``data``
    are the dataset folders, ``datasets`` the fingerprints of what was packed, ``blanks`` what their blank labels mean
    in words, ``unknown_patients`` where each image counts as a patient, ``num_repeated`` the test images whose picture
    is trained on too. ``seconds`` are wall times by phase, ``views`` those of each start.
    """

    command: str
    config: dict[str, Any]
    data: list[str]
    dataset: str
    datasets: list[str]
    blanks: str = ""
    unknown_patients: str = ""
    num_repeated: int = 0
    labels: list[str]
    starts: dict[str, StartResult]
    baseline: str
    protocol: dict[str, Any]
    test: dict[str, TestCounts]
    rows: list[Row]
    subgroups: list[SubgroupRow]
    gaps: list[GapRow] = field(default_factory=list)
    inputs: list[InputRow] = field(default_factory=list)
    level: float
    specificity: float
    num_replicates: int
    num_dropped: dict[str, int]
    seed: int
    views: dict[str, dict[str, Any]]
    versions: dict[str, str]
    seconds: dict[str, float]

    def __repr__(self) -> str:
        labels = f"{len(self.labels)} labels" if len(self.labels) > 3 else ", ".join(self.labels)
        measured = "; ".join(map(self._measured, self.readouts))
        return f"<Comparison: {self.dataset}, {labels}, {len(self.starts)} starts, {measured}>"

    def _measured(self, readout: str) -> str:
        """``linear at 1, 10, 100 %``, ``few-shot with 1, 5 a class``."""
        *amounts, last = map(READOUTS[readout].amount, self.fractions(readout))
        numbers = ", ".join([*(amount.partition(" ")[0] for amount in amounts), last])
        return f"{readout} {'with' if READOUTS[readout].by_shots else 'at'} {numbers}"

    @property
    def readouts(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(row.readout for row in self.rows))

    @property
    def has_macro(self) -> bool:
        """Whether there are several labels, hence rows of their means."""
        return len(self.labels) > 1

    @property
    def main_label(self) -> str:
        """The label to speak of first: the mean over the labels, or the only one."""
        return MACRO if self.has_macro else self.labels[0]

    def fractions(self, readout: str) -> list[float]:
        """The label fractions of a readout, ascending; of one by shots the numbers of images a class."""
        return sorted({row.fraction for row in self.rows if row.readout == readout})

    def select(
        self, *, readout: str | None = None, fraction: float | None = None, label: str | None = None, start: str = ""
    ) -> Iterator[Row]:
        """The rows of a readout, fraction, label, start, whichever are given."""
        for row in self.rows:
            if (
                readout in (None, row.readout)
                and fraction in (None, row.fraction)
                and label in (None, row.label)
                and start in ("", row.start)
            ):
                yield row
