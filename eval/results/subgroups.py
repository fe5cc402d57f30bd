"""Subgroups of the test set: from cells to AUROC by sex, age band, projection and any column that was kept in
packing, what each start gains there, and true and false positive rates at a threshold from validation.

A subgroup with too few patients of either class gets a reason instead of figures: an AUROC of three ill patients would
be read as a finding.

Legend: N images, S scored items (images or studies), D label draws and encoders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from eval.results.compare import Group, Statistics
from eval.results.rates import REPLICATES, called_share, gaps, rates
from eval.results.table import GapRow, SubgroupRow
from eval.stats.bootstrap import bootstrap
from eval.stats.folds import masks
from eval.stats.interval import Interval
from eval.study.cells import Cell
from eval.study.studies import ScoredStudies
from shards.index import ShardIndex
from shards.options import LabelPolicy

AGE_LIMITS = (40, 60, 80)
MINIMUM = 10
_NOT_STATED = "not stated"
_MIXED = "mixed"
_MOST_WORDS = 12  # that a kept column may hold; one of more is cut into thirds if they are numbers, else left out
_NOTHING = -1  # what an image says that does not state an attribute


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Some of the scored items: ``members`` (S,) is true for those whose ``attribute`` (``sex``, ``age``,
    ``projection``, a kept column) is what ``name`` says."""

    attribute: str
    name: str
    members: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class SubgroupResult:
    """Counts of a subgroup's labelled items, each model's AUROC and its paired difference to the baseline. Where
    ``reason`` says why not, the latter two are empty: print a dash and the reason."""

    attribute: str
    name: str
    num_items: int
    num_patients: int
    num_positives: int
    auroc: Mapping[str, Interval]
    difference: Mapping[str, Interval]
    reason: str | None = None


def subgroups(
    images: ShardIndex, items: npt.NDArray[np.int64], *, age_limits: Sequence[float] = AGE_LIMITS
) -> list[Subgroup]:
    """The subgroups that the images belong to; those of an attribute hold every item exactly once.

    A study belongs to what its images say: images that say nothing are passed over (a lateral view is neither AP nor
    PA), those that differ make it ``mixed``. An attribute that no image states is left out.

    Args:
        images: the N scored images.
        items: (N,) the number of each image's scored item, from 0: its study, or its own position.
        age_limits: ascending; the first year of each age band but the youngest.
    """
    coded: dict[str, tuple[tuple[str, ...], npt.NDArray[np.int64]]] = {
        "sex": (("F", "M"), _positions(("F", "M"), images.column("sex"))),
        "age": (_age_bands(age_limits), _bands(images.column("age"), age_limits)),
        "projection": (("AP", "PA"), _positions(("AP", "PA"), images.column("projection"))),
    }
    for column in images.kept_columns:
        kept = _kept(images.column(column))
        if kept is not None and column not in coded:
            coded[column] = kept
    found = []
    for attribute, (names, kinds) in coded.items():
        lowest, highest = _range_of_each(kinds, items)
        by_name = {name: (lowest == kind) & (highest == kind) for kind, name in enumerate(names)}
        by_name |= {_MIXED: lowest < highest, _NOT_STATED: highest == _NOTHING}
        if by_name[_NOT_STATED].all():
            continue
        found += [
            Subgroup(attribute=attribute, name=name, members=members)
            for name, members in by_name.items()
            if members.any()
        ]
    return found


def subgroup_results(
    labels: npt.NDArray[np.floating],
    scores: Mapping[str, npt.NDArray[np.floating]],
    patients: npt.NDArray[np.int64],
    groups: Sequence[Subgroup],
    *,
    folds: npt.NDArray[np.int64] | None = None,
    baseline: str | None = None,
    minimum: int = MINIMUM,
    num_replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[SubgroupResult]:
    """Counts and AUROCs of each subgroup, with intervals by bootstrap of its patients.

    Args:
        labels: (S,) of 0 and 1; nan where an item has no such label.
        scores: for each model logits (D, S).
        patients: (S,) any values that tell patients apart.
        folds: (S,) see :func:`eval.stats.bootstrap.bootstrap_table`.
        baseline: the model that differences are taken to; default: none are.
        minimum: patients of each class that a subgroup must have to be scored.
    """
    results = []
    for group in groups:
        chosen = group.members & np.isfinite(labels)
        values, owners = labels[chosen], patients[chosen]
        of_folds = None if folds is None else folds[chosen]
        reason = _reason(values, owners, minimum, of_folds)
        auroc: dict[str, Interval] = {}
        difference: dict[str, Interval] = {}
        if reason is None:
            resampled = bootstrap(
                values,
                {model: np.asarray(draws)[:, chosen] for model, draws in scores.items()},
                owners,
                folds=of_folds,
                num_replicates=num_replicates,
                level=level,
                seed=seed,
            )
            auroc = {model: resampled.interval(model) for model in scores}
            if baseline is not None:
                difference = {model: resampled.difference(model, baseline) for model in scores if model != baseline}
        results.append(
            SubgroupResult(
                attribute=group.attribute,
                name=group.name,
                num_items=len(values),
                num_patients=len(np.unique(owners)),
                num_positives=int((values == 1).sum()),
                auroc=auroc,
                difference=difference,
                reason=reason,
            )
        )
    return results


def _reason(
    labels: npt.NDArray[np.floating],
    patients: npt.NDArray[np.int64],
    minimum: int,
    folds: npt.NDArray[np.int64] | None,
) -> str | None:
    for value, has_it in ((1, "with"), (0, "without")):
        num_patients = len(np.unique(patients[labels == value]))
        if num_patients < minimum:
            return f"{num_patients} patient{'' if num_patients == 1 else 's'} {has_it} the finding, under {minimum}"
    if folds is not None and not any({0.0, 1.0} <= set(labels[fold].tolist()) for fold in masks(folds)):
        return "no fold with both classes"
    return None


def _positions(names: Sequence[str], words: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    return np.array([names.index(word) if word in names else _NOTHING for word in words], dtype=np.int64)


def _kept(words: npt.NDArray[np.object_]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]] | None:
    """Names and positions of the words of a kept column; of numbers that are many, of their thirds. None where it holds
    too many words to be groups."""
    names = tuple(sorted({str(word) for word in words if word is not None}))
    if len(names) <= _MOST_WORDS:
        return names, _positions(names, words)
    try:
        numbers = np.array([np.nan if word is None else float(word) for word in words])
    except ValueError:
        return None
    low, high = np.nanquantile(numbers, [1 / 3, 2 / 3])
    if not low < high:
        return None
    return (f"<{low:g}", f"{low:g}-{high:g}", f"{high:g}+"), _bands(numbers, (low, high))


def _bands(ages: npt.NDArray[np.float64], limits: Sequence[float]) -> npt.NDArray[np.int64]:
    return np.where(np.isnan(ages), _NOTHING, np.searchsorted(limits, ages, side="right"))


def _age_bands(limits: Sequence[float]) -> tuple[str, ...]:
    between = [f"{low:g}-{high - 1:g}" for low, high in pairwise(limits)]
    return (f"<{limits[0]:g}", *between, f"{limits[-1]:g}+")


def _range_of_each(
    kinds: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The lowest and highest kind among each item's images that state one, (S,) each; both -1 where none does."""
    num_items, is_stated = int(items.max()) + 1, kinds != _NOTHING
    lowest, highest = np.full(num_items, np.iinfo(np.int64).max), np.full(num_items, _NOTHING)
    np.minimum.at(lowest, items[is_stated], kinds[is_stated])
    np.maximum.at(highest, items[is_stated], kinds[is_stated])
    return np.minimum(lowest, highest), highest


def compare_subgroups(
    cells: Mapping[Group, Mapping[str, Sequence[Cell]]],
    test: ScoredStudies,
    *,
    baseline: str,
    statistics: Statistics,
    index: ShardIndex | None = None,
    uncertain: LabelPolicy = "ignore",
) -> tuple[list[SubgroupRow], list[GapRow]]:
    """AUROC by sex, age, projection and kept columns at the largest fraction of each readout, label by label; true and
    false positive rates where ``index`` has the validation images, and their gaps."""
    groups = subgroups(test.images, test.items)
    largest = {readout: max(share for name, share in cells if name == readout) for readout, _ in cells}
    rows: list[SubgroupRow] = []
    between: list[GapRow] = []
    for readout, fraction in largest.items():
        by_start = cells[readout, fraction]
        scores = {start: np.stack([test.scores(cell) for cell in several]) for start, several in by_start.items()}
        for number, label in enumerate(test.names):
            found = subgroup_results(
                test.labels[:, number],
                {start: values[:, :, number] for start, values in scores.items()},
                test.clusters,
                groups,
                folds=test.folds,
                baseline=baseline if baseline in scores else None,
                num_replicates=min(statistics.num_replicates, REPLICATES),
                level=statistics.level,
                seed=statistics.seed,
            )
            called = {
                start: called_share(by_start[start], values[:, :, number], label, index, statistics, uncertain)
                for start, values in scores.items()
            }
            members = {(group.attribute, group.name): group.members for group in groups}
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
                    **(
                        rates(called[start], members[one.attribute, one.name], test, number, statistics)
                        if one.reason is None
                        else {}
                    ),
                )
                for one in found
                for start in scores
            ]
            large = {(one.attribute, one.name) for one in found if one.reason is None}
            compared = {name: chosen for name, chosen in members.items() if name in large}
            for start in scores:
                between += gaps(
                    called[start],
                    compared,
                    test,
                    number,
                    statistics,
                    readout=readout,
                    fraction=fraction,
                    start=start,
                )
    return rows, between
