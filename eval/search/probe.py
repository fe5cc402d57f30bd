"""What an encoder is worth to probes, by cross-validation on training patients alone.

Legend: N images, S seeds, K folds, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.readouts.linear import fit
from eval.search.config import SearchConfig
from eval.stats.metrics import auroc
from eval.study.draws import LabelledDraw, check_draws, label_matrix, labelled_draws
from eval.study.features import cached_features
from eval.study.folds import check_folds, cross_validated
from eval.study.partition import Partition
from eval.study.protocol import Protocol, choose_protocol
from eval.study.starts import StartEncoder, build_starts
from shards.index import ShardIndex

Aurocs = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


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
        InputError: no training images, an unknown label, one of which not every fold holds both classes, or one with
            fewer patients of a class than draws.
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
        self.shares = sorted({config.share(label) for label in config.label})
        for label in config.label:
            check_folds([part.test for part in self.parts], label, self.protocol)
            for part in self.parts:
                check_draws(part.train, [label], {config.share(label): config.draws}, protocol=self.protocol)
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

    def _of_fold(self, features: Floats, part: Partition) -> list[float]:
        """Of each label, the mean over its draws; labels of which as many are learnt share draws and probe."""
        found: dict[str, float] = {}
        for share in self.shares:
            labels = [label for label in self.config.label if self.config.share(label) == share]
            draws = labelled_draws(part.train, labels, {share: self.config.draws}, protocol=self.protocol)
            means = np.mean([self._of_draw(features, part, labels, draw) for draw in draws], axis=0)
            found |= dict(zip(labels, means.tolist(), strict=True))
        return [found[label] for label in self.config.label]

    def _of_draw(self, features: Floats, part: Partition, labels: list[str], draw: LabelledDraw) -> list[float]:
        of_train, of_valid, of_test = (
            features[self.index.positions(rows)] for rows in (draw.rows, part.valid.rows, part.test.rows)
        )
        valid, test = (label_matrix(each, labels, self.config.uncertain) for each in (part.valid, part.test))
        _, scores, _ = fit(of_train, draw.labels, draw.patients, of_valid, valid, of_test)
        known = np.isfinite(test)
        return [auroc(test[is_known, number], scores[is_known, number]) for number, is_known in enumerate(known.T)]


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
