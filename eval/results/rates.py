"""True and false positive rates of groups of the test set, at a threshold that was fixed on validation; their gaps.

A threshold that is chosen on the test set, or in each group, hides what happens when one number is used for all. So for
each draw the threshold lets the asked-for share of the negative validation studies pass, and stays. The gap of an
attribute is the largest rate of its groups less the smallest (equalised odds, Hardt et al. 2016, arXiv 1610.02413).

Legend: S scored items (studies), D draws and encoders, P patients, R resamples, G groups, C both classes of each group.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eval.results.compare import Statistics
from eval.results.table import GapRow, RateName
from eval.stats.bootstrap import resample_block
from eval.stats.interval import Interval, percentile_interval
from eval.study.cells import Cell
from eval.study.studies import ScoredStudies, study_set
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex
from shards.options import LabelPolicy

UNSTATED = frozenset({"not stated", "mixed"})
REPLICATES = 2000  # enough for intervals; no p value is taken from them
_BLOCK = 64  # resamples drawn at once
# In which direction they are good: a group is worst off whose ill are missed most, or whose well are alarmed most.
_RATES: dict[RateName, int] = {"true positive": 1, "false positive": -1}


def validation_threshold(
    cell: Cell, index: ShardIndex, label: str, *, specificity: float, uncertain: LabelPolicy
) -> float | None:
    """The score that ``specificity`` of the negative validation studies stay under; None where there are none, or where
    several folds were validated each by its own model.

    Args:
        index: of all the comparison's images.
    """
    if cell.folds is not None or not len(cell.valid_rows):
        return None
    try:
        studies = study_set(index.take(index.positions(cell.valid_rows)), label, policy=uncertain)
    except InputError:  # one class only
        return None
    scores = studies.scores_of(cell.valid_rows, cell.valid_scores[:, cell.labels.index(label)])
    return float(np.quantile(scores[studies.labels == 0], specificity, method="higher"))


def rate_interval(
    called: npt.NDArray[np.float64],
    patients: npt.NDArray[np.int64],
    *,
    num_replicates: int,
    level: float,
    seed: int,
) -> Interval | None:
    """The mean of what was called positive, with the interval of a bootstrap of patients.

    Args:
        called: (S,) of the items of one class: the share of draws that called each positive.
        patients: (S,) any values that tell patients apart.
    """
    if not len(called):
        return None
    owners = np.unique(patients, return_inverse=True)[1]
    sums, counts = np.bincount(owners, called), np.bincount(owners)
    num_patients = len(counts)
    random = generator("rates", seed)
    replicates = []
    for first in range(0, num_replicates, _BLOCK):
        size = min(_BLOCK, num_replicates - first)
        weights = random.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=size)
        replicates.append((weights @ sums) / (weights @ counts))
    return percentile_interval(float(called.mean()), np.concatenate(replicates), level=level)


def called_share(
    cells: Sequence[Cell],
    scores: npt.NDArray[np.floating],
    label: str,
    index: ShardIndex | None,
    statistics: Statistics,
    uncertain: LabelPolicy,
) -> npt.NDArray[np.float64] | None:
    """The share of the draws that call each item positive, (S,), each at its own threshold from validation; None where
    there is none."""
    if index is None:
        return None
    thresholds = [
        validation_threshold(cell, index, label, specificity=statistics.specificity, uncertain=uncertain)
        for cell in cells
    ]
    known = [threshold for threshold in thresholds if threshold is not None]
    if not known or len(known) < len(thresholds):
        return None
    return np.asarray(np.mean(scores > np.array(known)[:, None], axis=0), dtype=np.float64)


def rates(
    called: npt.NDArray[np.float64] | None,
    members: npt.NDArray[np.bool_],
    test: ScoredStudies,
    number: int,
    statistics: Statistics,
) -> dict[str, Interval | None]:
    """Both rates of a subgroup of the label at position ``number``; none without thresholds."""
    if called is None:
        return {}
    labels = test.labels[:, number]
    return {
        name: rate_interval(
            called[members & (labels == value)],
            test.clusters[members & (labels == value)],
            num_replicates=min(statistics.num_replicates, REPLICATES),
            level=statistics.level,
            seed=statistics.seed,
        )
        for name, value in (("true_positive_rate", 1), ("false_positive_rate", 0))
    }


def gaps(
    called: npt.NDArray[np.float64] | None,
    members: Mapping[tuple[str, str], npt.NDArray[np.bool_]],
    test: ScoredStudies,
    number: int,
    statistics: Statistics,
    *,
    readout: str,
    fraction: float,
    start: str,
) -> list[GapRow]:
    """Both rates' gaps of each attribute with two groups or more, each between the group with the worst rate and that
    with the best; who states nothing is in none. None without thresholds.

    The interval is that of the difference of these two groups, on resamples of all test patients. It may hold zero,
    which the largest less the smallest of every resample would hardly do. As the two were chosen for their difference,
    it is somewhat too hopeful where many groups are alike: in simulations the 95 % interval held the truth in 92 to
    97 % where groups differed, and in 80 % where four groups of equal rates were compared.

    Args:
        called: (S,) the share of draws that called each positive.
        members: (S,) of each group that is large enough, by attribute and name.
        number: position of the label.
    """
    names = [name for name in members if name[1] not in UNSTATED]
    several = [attribute for attribute, num in Counter(attribute for attribute, _ in names).items() if num > 1]
    if called is None or not several:
        return []
    values, replicates = _rates_together(called, [members[name] for name in names], test, number, statistics)
    found = []
    for attribute in several:
        groups = [place for place, name in enumerate(names) if name[0] == attribute]
        for value, (rate, direction) in enumerate(_RATES.items()):
            ranked = sorted(groups, key=lambda place: direction * values[value, place])
            worst, best = ranked[0], ranked[-1]
            differences = direction * (replicates[:, value, best] - replicates[:, value, worst])
            size = direction * (values[value, best] - values[value, worst])
            found.append(
                GapRow(
                    readout=readout,
                    fraction=fraction,
                    label=test.names[number],
                    start=start,
                    attribute=attribute,
                    rate=rate,
                    worst=names[worst][1],
                    best=names[best][1],
                    size=percentile_interval(size, differences[np.isfinite(differences)], level=statistics.level),
                )
            )
    return found


def _rates_together(
    called: npt.NDArray[np.float64],
    groups: Sequence[npt.NDArray[np.bool_]],
    test: ScoredStudies,
    number: int,
    statistics: Statistics,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """True and false positive rates of the groups, (2, G), and on each resample of the test patients, (R, 2, G); nan
    where a resample has nobody of a class of a group."""
    owners = np.unique(test.clusters, return_inverse=True)[1].ravel()
    chosen = [group & (test.labels[:, number] == value) for value in (1, 0) for group in groups]
    num_patients = int(owners.max()) + 1
    sums = np.stack([np.bincount(owners, called * one, num_patients) for one in chosen], axis=1)  # (P, C)
    counts = np.stack([np.bincount(owners, one, num_patients) for one in chosen], axis=1)
    num_replicates = min(statistics.num_replicates, REPLICATES)
    blocks = []
    for block in range(-(-num_replicates // _BLOCK)):
        weights = resample_block(num_patients, block, statistics.seed).astype(np.float64)
        with np.errstate(invalid="ignore"):
            blocks.append((weights @ sums) / (weights @ counts))
    replicates = np.concatenate(blocks)[:num_replicates]
    shape = (2, len(groups))
    return (sums.sum(axis=0) / counts.sum(axis=0)).reshape(shape), replicates.reshape(-1, *shape)
