"""What an encoder is worth to probes, by cross-validation on training patients alone.

Legend: N images, S seeds, K folds, L labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.readouts.linear import fit
from eval.search.config import SearchConfig
from eval.stats.metrics import auroc
from eval.study.draws import label_matrix
from eval.study.features import cached_features
from eval.study.folds import check_folds, cross_validated
from eval.study.partition import Partition
from eval.study.protocol import Protocol, choose_protocol
from eval.study.starts import StartEncoder, build_starts
from shards.base.randomness import generator
from shards.index import ShardIndex

Aurocs = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Mean AUROC above the random starts', over tasks, folds and seeds, with its standard error: that over the folds
    and, where there are several, over the seeds. Folds share training patients, so it is a guide, no test.
    ``of_labels``: the mean gain of each task."""

    mean: float
    error: float
    of_labels: tuple[float, ...]


class Probe:
    """The images and folds of a search, opened and checked once. Images of other splits than train are never read.

    Raises:
        InputError: no training images, an unknown label, or one of which not every fold holds both classes.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        index = ShardIndex.open(*config.data)
        self.protocol: Protocol = choose_protocol(
            index, "cross-validated", uncertain=config.uncertain, view=config.view, folds=config.folds
        )
        train = index.where(split="train")
        train.require_rows("split train")
        self.parts = cross_validated(train, config.label, self.protocol)
        for label in config.label:
            check_folds([part.test for part in self.parts], label, self.protocol)
        self.index = train.take(np.isin(train.rows, np.concatenate([part.test.rows for part in self.parts])))

    def aurocs(self, run: Path) -> tuple[Aurocs, Aurocs]:
        """AUROC (K, L) of probes on the encoder of a run, and the mean of those on random starts of its kind."""
        starts = build_starts({"random": ("random",), "run": (str(run),)}, num_random=self.config.random_starts)
        (encoder,) = starts["run"].encoders
        return self._of(encoder), np.mean([self._of(each) for each in starts["random"].encoders], axis=0)

    def _of(self, encoder: StartEncoder) -> Aurocs:
        features = cached_features(
            self.config.folder / "features",
            encoder.encoder,
            self.index,
            encoder.views.evaluation(),
            device=self.config.device,
            engine=self.config.engine,
        )
        return np.array([self._of_fold(features, part) for part in self.parts])

    def _of_fold(self, features: npt.NDArray[np.float32], part: Partition) -> list[float]:
        train = self._labelled(part.train)
        images = (train, part.valid, part.test)
        of_train, of_valid, of_test = (features[self.index.positions(each.rows)] for each in images)
        labels, labels_valid, labels_test = (self._labels(each) for each in images)
        _, scores, _ = fit(of_train, labels, train.patients(), of_valid, labels_valid, of_test)
        known = np.isfinite(labels_test)
        return [
            auroc(labels_test[is_known, number], scores[is_known, number]) for number, is_known in enumerate(known.T)
        ]

    def _labelled(self, train: ShardIndex) -> ShardIndex:
        """The images of the patients whose labels are learnt from."""
        patients = np.unique(train.patients())
        number = math.ceil(self.config.fraction * len(patients))
        chosen = generator("search", self.protocol.seed).permutation(patients)[:number]
        return train.take(np.isin(train.patients(), chosen))

    def _labels(self, index: ShardIndex) -> npt.NDArray[np.float32]:
        return label_matrix(index, self.config.label, self.config.uncertain)


def gain_of(aurocs: Sequence[tuple[Aurocs, Aurocs]]) -> Gain:
    """The gain of a candidate from what :meth:`Probe.aurocs` gave of each of its seeds."""
    gains = np.stack([run - random for run, random in aurocs])  # (S, K, L)
    each = gains.mean(axis=2)
    of_folds, of_seeds = each.mean(axis=0), each.mean(axis=1)
    squared = of_folds.var(ddof=1) / len(of_folds)
    if len(of_seeds) > 1:
        squared += of_seeds.var(ddof=1) / len(of_seeds)
    of_labels = tuple(map(float, gains.mean(axis=(0, 1))))
    return Gain(mean=float(each.mean()), error=float(np.sqrt(squared)), of_labels=of_labels)
