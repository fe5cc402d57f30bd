"""What all cells of a comparison share: images, the rules by which they are split, label draws, the test set.

All is read and checked before anything is computed, so that mistakes show at once. Free of torch.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eval.study.config import CohortConfig
from eval.study.draws import LabelledDraw, few_shot_draw, import_draws, label_matrix, labelled_draws
from eval.study.partition import SHENZHEN_DRAWS, Partition, labelled_images, partition
from eval.study.protocol import Protocol, choose_protocol
from eval.study.studies import ScoredStudies, scored_studies
from shards.index import ShardIndex

FRACTIONS = (0.01, 0.1, 1.0)
DRAWS = 5


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """``draws`` are those of the label fractions, ``few_shot`` those of the numbers of images a class. Images of which
    no label is known are in none of the ``parts``."""

    index: ShardIndex
    protocol: Protocol
    parts: Partition
    draws: list[LabelledDraw]
    few_shot: list[LabelledDraw]
    labels: tuple[str, ...]

    @cached_property
    def scored(self) -> ScoredStudies:
        """The test set, grouped into studies."""
        return scored_studies(self.parts.test, self.labels, self.protocol)

    @cached_property
    def valid_labels(self) -> npt.NDArray[np.float32]:
        """Labels of the validation images, NaN where there are none."""
        return label_matrix(self.parts.valid, self.labels, self.protocol.uncertain)


def open_cohort(
    config: CohortConfig, *, fraction: tuple[float, ...] | None = None, shots: tuple[int, ...] = ()
) -> Cohort:
    """Opens the data and draws labels.

    Args:
        fraction: None: 1, 10 and 100 %, or those of the split rule.
        shots: images a class.

    Raises:
        InputError: no such dataset, label or split; patients that are in two splits; one class only in training or, as
            soon as it is looked at, in test.
    """
    index = ShardIndex.open(*config.data)
    labels = tuple(index.label_names) if config.label == ("all",) else config.label
    label_matrix(index, labels, config.uncertain)  # refuses an unknown label before anything else
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
        seed=config.seed,
    )
    parts = partition(labelled, protocol)
    imported = None if config.draw_file is None else import_draws(config.draw_file, parts.train)
    wanted = _num_draws(config, fraction)
    return Cohort(
        index=index,
        protocol=protocol,
        parts=parts,
        draws=labelled_draws(parts.train, labels, wanted, protocol=protocol, imported=imported) if wanted else [],
        few_shot=[
            few_shot_draw(parts.train, labels, num_shots, draw=draw, protocol=protocol)
            for num_shots in sorted(set(shots))
            for draw in range(config.draws or DRAWS)
        ],
        labels=labels,
    )


def _num_draws(config: CohortConfig, fraction: tuple[float, ...] | None) -> dict[float, int]:
    """How many draws of each fraction."""
    by_rule = SHENZHEN_DRAWS if config.split_rule == "shenzhen" else {}
    shares = (tuple(by_rule) or FRACTIONS) if fraction is None else fraction
    return {share: config.draws or by_rule.get(share, DRAWS) for share in sorted(set(shares))}
