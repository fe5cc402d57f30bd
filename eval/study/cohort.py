"""What all cells of a comparison share: images, the rules by which they are split, label draws, the test set.

All is read and checked before anything is computed, so that mistakes show at once. Free of torch.
"""

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eval.study.config import CohortConfig
from eval.study.draws import (
    DrawRows,
    LabelledDraw,
    check_draws,
    few_shot_draw,
    import_draws,
    label_matrix,
    labelled_draws,
)
from eval.study.folds import check_folds, cross_validated
from eval.study.partition import SHENZHEN_DRAWS, Partition, labelled_images, partition
from eval.study.protocol import Protocol, choose_protocol
from eval.study.studies import ScoredStudies, scored_studies, study_set
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.repeated import refuse_repeated, same_images

FRACTIONS = (0.01, 0.1, 1.0)
DRAWS = 5
NO_FOLDS = "draws are taken within each fold, and a file of draws knows no folds; give --protocol clean"


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Who learns and who is tested together. ``number`` is 0, or counts from 1 where several folds are cross-validated.
    ``draws`` are those of the label fractions, ``few_shot`` those of the numbers of images a class; ``valid_labels``
    (M, L) of the validation images, NaN where there are none."""

    number: int
    parts: Partition
    draws: list[LabelledDraw]
    few_shot: list[LabelledDraw]
    valid_labels: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """All images of which any label is known, in one fold or, cross-validated, in several that test each image once."""

    index: ShardIndex
    protocol: Protocol
    folds: tuple[Fold, ...]
    labels: tuple[str, ...]

    @cached_property
    def test(self) -> ShardIndex:
        """All images that are tested, in row order."""
        rows = np.sort(np.concatenate([fold.parts.test.rows for fold in self.folds]))
        return self.index.take(self.index.positions(rows))

    @cached_property
    def scored(self) -> ScoredStudies:
        """The test set, grouped into studies."""
        numbers = np.zeros(len(self.test), dtype=np.int64)
        for fold in self.folds:
            numbers[self.test.positions(fold.parts.test.rows)] = fold.number
        return scored_studies(self.test, self.labels, self.protocol, folds=numbers)


def open_cohort(
    config: CohortConfig, *, fraction: tuple[float, ...] | None = None, shots: tuple[int, ...] = ()
) -> Cohort:
    """Opens the data and draws labels.

    Args:
        fraction: None: 1, 10 and 100 %, or those of the split rule.
        shots: images a class.

    Raises:
        InputError: no such dataset, label or split; images that are given twice; patients that are in two splits; one
            class only in training or, as soon as it is looked at, in test; too few patients for the folds.
    """
    index = ShardIndex.open(*config.data)
    refuse_repeated(index, "--data")
    asks_all = config.label == ("all",)
    labels = tuple(index.label_names) if asks_all else config.label
    label_matrix(index, labels, config.uncertain)  # refuses an unknown label before anything else
    wanted = _num_draws(config, fraction)
    refused: dict[str, str] = {}
    if config.draw_file is not None and config.protocol == "cross-validated":
        raise InputError(f"--draw-file {config.draw_file}: {NO_FOLDS}")
    while True:
        protocol, parts = _divide(index, labels, config)
        imported = None if config.draw_file is None else import_draws(config.draw_file, parts[0].train)
        found = _refused_labels(parts, labels, wanted, shots, protocol, imported) if asks_all or protocol.folds else {}
        if found and not asks_all:
            raise InputError(next(iter(found.values())))
        refused |= found
        labels = tuple(name for name in labels if name not in found)
        if not labels:
            raise InputError("--label all: no label can be learnt and tested:\n" + "\n".join(refused.values()))
        if not found:
            break
    if refused:
        lines = [f"warning: --label all: {len(refused)} labels are left out:", *refused.values()]
        print("\n  ".join(lines), file=sys.stderr)
    for part in parts:
        _refuse_shared_images(part)
    folds = [
        Fold(
            number=number,
            parts=part,
            draws=labelled_draws(part.train, labels, wanted, protocol=protocol, imported=imported) if wanted else [],
            few_shot=[
                few_shot_draw(part.train, labels, num_shots, draw=draw, protocol=protocol)
                for num_shots in sorted(set(shots))
                for draw in range(config.draws or DRAWS)
            ],
            valid_labels=label_matrix(part.valid, labels, protocol.uncertain),
        )
        for number, part in enumerate(parts, 1 if protocol.folds else 0)
    ]
    return Cohort(index=index, protocol=protocol, folds=tuple(folds), labels=labels)


def _refuse_shared_images(parts: Partition) -> None:
    """Refuses images that are learnt from and tested on, because they were packed into two datasets; what one release
    holds twice is its own."""
    for name, learnt_from in (("training", parts.train), ("validation", parts.valid)):
        num_same = int(same_images(parts.test, learnt_from).sum())
        if num_same:
            raise InputError(
                f"--data: {num_same:,} of {len(parts.test):,} test images are {name} images too, packed into another "
                "dataset; give one of the datasets"
            )


def _divide(index: ShardIndex, labels: tuple[str, ...], config: CohortConfig) -> tuple[Protocol, list[Partition]]:
    """The images of which any of the labels is known, in three sets, or in three of each fold; which these are depends
    on the labels."""
    labelled = labelled_images(index, labels)
    protocol = choose_protocol(
        labelled,
        config.protocol,
        uncertain=config.uncertain,
        view=config.view,
        train_split=config.train_split,
        valid_split=config.valid_split,
        test_split=config.test_split,
        split_rule=config.split_rule,
        left_out=config.left_out,
        folds=config.folds,
        seed=config.seed,
    )
    if protocol.folds:
        return protocol, cross_validated(labelled, labels, protocol)
    return protocol, [partition(labelled, protocol)]


def _refused_labels(
    parts: list[Partition],
    labels: tuple[str, ...],
    wanted: dict[float, int],
    shots: tuple[int, ...],
    protocol: Protocol,
    imported: DrawRows | None,
) -> dict[str, str]:
    """The labels that would be refused if they were asked for alone, each with its reason."""
    reasons = {}
    for name in labels:
        try:
            if protocol.folds:
                check_folds([part.test for part in parts], name, protocol)
            for part in parts:
                if imported is None:
                    check_draws(part.train, (name,), wanted, protocol=protocol)
                else:
                    labelled_draws(part.train, (name,), wanted, protocol=protocol, imported=imported)
                for num_shots in shots:
                    few_shot_draw(part.train, (name,), num_shots, draw=0, protocol=protocol)
                study_set(part.test, name, policy=protocol.uncertain)
        except InputError as error:
            reasons[name] = str(error)
    return reasons


def _num_draws(config: CohortConfig, fraction: tuple[float, ...] | None) -> dict[float, int]:
    """How many draws of each fraction."""
    by_rule = SHENZHEN_DRAWS if config.split_rule == "shenzhen" else {}
    shares = (tuple(by_rule) or FRACTIONS) if fraction is None else fraction
    return {share: config.draws or by_rule.get(share, DRAWS) for share in sorted(set(shares))}
