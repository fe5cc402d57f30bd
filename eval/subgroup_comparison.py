"""From cells to the subgroups' table: AUROC by sex, age and projection, and what each start gains there."""

from collections.abc import Mapping, Sequence

import numpy as np

from eval.cells import Cell
from eval.comparison import Group, ScoredStudies, Statistics
from eval.results import SubgroupRow
from eval.subgroups import subgroup_results, subgroups

_REPLICATES = 2000  # enough for intervals; no p value is taken from them


def compare_subgroups(
    cells: Mapping[Group, Mapping[str, Sequence[Cell]]],
    test: ScoredStudies,
    *,
    baseline: str,
    statistics: Statistics,
) -> list[SubgroupRow]:
    """AUROC by sex, age and projection at the largest fraction of each readout, label by label."""
    groups = subgroups(test.images, test.items)
    largest = {readout: max(share for name, share in cells if name == readout) for readout, _ in cells}
    rows: list[SubgroupRow] = []
    for readout, fraction in largest.items():
        by_start = cells[readout, fraction]
        scores = {start: np.stack([test.scores(cell) for cell in several]) for start, several in by_start.items()}
        for number, label in enumerate(test.names):
            found = subgroup_results(
                test.labels[:, number],
                {start: values[:, :, number] for start, values in scores.items()},
                test.clusters,
                groups,
                baseline=baseline if baseline in scores else None,
                num_replicates=min(statistics.num_replicates, _REPLICATES),
                level=statistics.level,
                seed=statistics.seed,
            )
            rows += [
                SubgroupRow(
                    readout=readout,
                    fraction=fraction,
                    label=label,
                    start=start,
                    attribute=one.attribute,
                    group=one.name,
                    num_studies=one.num_items,
                    num_patients=one.num_patients,
                    num_positive_studies=one.num_positives,
                    auroc=one.auroc.get(start),
                    difference=one.difference.get(start),
                    reason=one.reason,
                )
                for one in found
                for start in scores
            ]
    return rows
