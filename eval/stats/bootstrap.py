"""The bootstrap of patients: intervals of metrics, and of paired differences of models, per label and over all labels.

Images or studies of one patient are not independent, so whole patients are resampled, the same for all models and
labels: differences are paired by resample, and the mean over labels is one figure for each resample. Resamples are
addressed by number, so they do not depend on how many threads share the work. 10,000 paired resamples over 25,000
images of 15,000 patients take about 3 seconds of one core.

Legend: N scored items (images or studies), D label draws and encoders, L labels, M metrics, R resamples, P patients.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from eval.stats.folds import fold_metrics, masks
from eval.stats.interval import Interval, percentile_interval, percentile_p_value, pivotal_interval
from eval.stats.metrics import NUM_BINS, SPECIFICITY, Metric
from eval.stats.weighted import Counts, Ordered, ordered, weighted_metrics
from shards.base.bar import Bar
from shards.base.errors import InputError
from shards.base.facts import num_cores
from shards.base.randomness import generator

Floats = npt.NDArray[np.float64]
_BLOCK = 64  # resamples drawn from one generator
# Weights that one task of a thread handles at least, so that calls to numpy are few even where the test set is small.
_WEIGHTS_PER_TASK = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Several models' values of one metric on the same resamples.

    ``estimates`` holds each model's value on the data as it is, ``replicates`` (R,) its value on each resample; both
    are means over the model's label draws and encoders. ``num_dropped`` resamples lacked a class and are in no
    replicate.
    """

    metric: Metric
    estimates: Mapping[str, float]
    replicates: Mapping[str, Floats]
    num_dropped: int
    level: float

    def interval(self, model: str) -> Interval:
        """The percentile interval of one model's value; of a calibration error the pivotal one.

        Resampling scatters the shares in the bins a second time, so the percentiles of a calibration error lie too
        high: on simulated test sets of 300 patients with an error of .06 they cover it in 46 % where pivotal ones do in
        88 %. Of a model that is calibrated to perfection neither covers the error of zero reliably.
        """
        make = pivotal_interval if self.metric == "calibration_error" else percentile_interval
        return make(self.estimates[model], self.replicates[model], level=self.level)

    def difference(self, model: str, baseline: str) -> Interval:
        """The percentile interval of ``model`` minus ``baseline``, paired by resample."""
        estimate = self.estimates[model] - self.estimates[baseline]
        return percentile_interval(estimate, self._differences(model, baseline), level=self.level)

    def p_value(self, model: str, baseline: str) -> float:
        """The two-sided p value of the paired difference; see :func:`eval.stats.interval.percentile_p_value`."""
        return percentile_p_value(self._differences(model, baseline))

    def _differences(self, model: str, baseline: str) -> Floats:
        return self.replicates[model] - self.replicates[baseline]


@dataclass(frozen=True, kw_only=True)
class BootstrapTable:
    """Several models' values of several metrics of several labels, on the same resamples.

    ``estimates`` holds (L, M) of each model, ``replicates`` (L, M, R); a resample without one class of a label is nan
    there.
    """

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    estimates: Mapping[str, Floats]
    replicates: Mapping[str, Floats]
    level: float

    def of(self, label: str, metric: Metric = "auroc") -> Bootstrap:
        """One metric of one label."""
        return self._mean_over((self.labels.index(label),), metric)

    def macro(self, metric: Metric = "auroc") -> Bootstrap:
        """The mean of one metric over all labels; resamples that lack a class of any label are dropped.

        Raises:
            InputError: that drops all.
        """
        return self._mean_over(range(len(self.labels)), metric)

    def _mean_over(self, labels: Sequence[int], metric: Metric) -> Bootstrap:
        chosen, number = list(labels), self.metrics.index(metric)
        values = {model: self.replicates[model][chosen, number].mean(axis=0) for model in self.replicates}
        # The labels, hence the missing classes, are the same for all models.
        is_usable = np.isfinite(next(iter(values.values())))
        if not is_usable.any():
            names = ", ".join(self.labels[label] for label in chosen)
            raise InputError(
                f"--replicates {len(is_usable)}: no resample of the test patients held both classes of {names}; "
                "use a test split with more patients of the rarer class"
            )
        return Bootstrap(
            metric=metric,
            estimates={model: float(self.estimates[model][chosen, number].mean()) for model in self.estimates},
            replicates={model: replicates[is_usable] for model, replicates in values.items()},
            num_dropped=int((~is_usable).sum()),
            level=self.level,
        )


def bootstrap(
    labels: npt.NDArray[np.floating],
    scores: Mapping[str, npt.NDArray[np.floating]],
    patients: npt.NDArray[np.int64],
    *,
    folds: npt.NDArray[np.int64] | None = None,
    num_replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    metric: Metric = "auroc",
    num_threads: int | None = None,
) -> Bootstrap:
    """:func:`bootstrap_table` of one metric of one label: ``labels`` (N,), and ``scores`` (D, N) for each model."""
    table = bootstrap_table(
        np.asarray(labels, dtype=np.float64)[:, None],
        {model: np.asarray(draws)[:, :, None] for model, draws in scores.items()},
        patients,
        label_names=("label",),
        metrics=(metric,),
        folds=folds,
        num_replicates=num_replicates,
        level=level,
        seed=seed,
        num_threads=num_threads,
    )
    return table.of("label", metric)


def bootstrap_table(
    labels: npt.NDArray[np.floating],
    scores: Mapping[str, npt.NDArray[np.floating]],
    patients: npt.NDArray[np.int64],
    *,
    label_names: Sequence[str],
    metrics: Sequence[Metric] = ("auroc",),
    folds: npt.NDArray[np.int64] | None = None,
    num_replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    specificity: float = SPECIFICITY,
    num_bins: int = NUM_BINS,
    num_threads: int | None = None,
) -> BootstrapTable:
    """Resamples patients and computes every model's metrics of every label on the same resamples.

    The intervals speak of the choice of test patients; label draws and encoders are held as they are, and a model's
    value is its mean over them (MoCo-CXR, section 3). The published protocol resamples studies: give their numbers as
    ``patients``.

    Args:
        labels: (N, L) of 0 and 1; nan where an item has no such label.
        scores: for each model logits (D, N, L), finite where the label is; D may differ between models.
        patients: (N,) any values that tell patients apart.
        folds: (N,) tells the models apart that scored the items in cross-validation, whose metrics are those of
            :func:`eval.stats.folds.fold_metrics`; default: one has scored them all.
        level: of the confidence intervals.
        num_threads: default: one a core.

    Raises:
        InputError: a label has one class only, in all folds; a score is not finite.
    """
    labels = np.asarray(labels)
    has_label = np.isfinite(labels)
    of_folds = [np.ones(len(labels), dtype=bool)] if folds is None else masks(folds)
    _check(labels, has_label, scores, label_names, of_folds)
    numbers = np.unique(patients, return_inverse=True)[1].ravel()
    num_patients = int(numbers.max()) + 1

    def sort(draw: npt.NDArray[np.floating], label: int, chosen: npt.NDArray[np.bool_]) -> Ordered:
        chosen = chosen & has_label[:, label]
        return ordered(
            labels[chosen, label],
            draw[chosen, label],
            numbers[chosen],
            num_patients=num_patients,
            num_bins=num_bins,
        )

    columns, every = range(len(label_names)), np.ones(len(labels), dtype=bool)
    sorted_scores = {
        model: [[sort(draw, label, every) for draw in draws] for label in columns] for model, draws in scores.items()
    }
    sorted_folds = {
        model: [[[sort(draw, label, fold) for fold in of_folds] for draw in draws] for label in columns]
        for model, draws in (scores.items() if len(of_folds) > 1 else ())
    }

    def metrics_of(model: str, label: int, draw: int, counts: Counts) -> Floats:  # (M, R)
        pooled = sorted_scores[model][label][draw]
        if model not in sorted_folds:
            return weighted_metrics(pooled, counts, metrics, specificity=specificity)
        return fold_metrics(sorted_folds[model][label][draw], pooled, counts, metrics, specificity=specificity)

    def values(model: str, counts: Counts) -> Floats:  # (L, M, R)
        draws = range(len(scores[model]))
        return np.stack(
            [np.mean([metrics_of(model, label, draw, counts) for draw in draws], axis=0) for label in columns]
        )

    replicates = {model: np.empty((len(label_names), len(metrics), num_replicates)) for model in scores}

    num_blocks = -(-num_replicates // _BLOCK)
    blocks_each = max(1, _WEIGHTS_PER_TASK // (_BLOCK * len(labels)))

    def fill(block: int) -> None:
        blocks = range(block, min(block + blocks_each, num_blocks))
        place = slice(block * _BLOCK, min(blocks.stop * _BLOCK, num_replicates))
        counts = np.concatenate([resample_block(num_patients, number, seed) for number in blocks])
        for model, filled in replicates.items():
            filled[:, :, place] = values(model, counts[: place.stop - place.start])

    # Numpy works outside the interpreter's lock here; threads of the linear algebra would only crowd these.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(num_threads or num_cores()) as pool,
        # The bar is for grids of many models: one comparison is done before it appears.
        Bar(desc="bootstrap", unit="resample", total=num_replicates, delay=5) as progress,
    ):
        for _ in pool.map(fill, range(0, num_blocks, blocks_each)):
            progress.update(min(blocks_each * _BLOCK, num_replicates - progress.n))
    once = np.ones((1, num_patients), dtype=np.int32)
    return BootstrapTable(
        labels=tuple(label_names),
        metrics=tuple(metrics),
        estimates={model: values(model, once)[:, :, 0] for model in scores},
        replicates=replicates,
        level=level,
    )


def resample_block(num_patients: int, block: int, seed: int) -> Counts:
    """Draws patients with replacement: how often each was drawn in each of the 64 resamples of a block, (64, P)."""
    drawn = generator("bootstrap", seed, block).integers(num_patients, size=(_BLOCK, num_patients), dtype=np.int32)
    counts = np.empty_like(drawn)
    for number, row in enumerate(drawn):
        counts[number] = np.bincount(row, minlength=num_patients)
    return counts


def _check(
    labels: npt.NDArray[np.floating],
    has_label: npt.NDArray[np.bool_],
    scores: Mapping[str, npt.NDArray[np.floating]],
    label_names: Sequence[str],
    folds: Sequence[npt.NDArray[np.bool_]],
) -> None:
    for number, name in enumerate(label_names):
        num_labelled, num_positives = int(has_label[:, number].sum()), int((labels[:, number] == 1).sum())
        if num_positives in (0, num_labelled):
            raise InputError(
                f"label {name!r}: {num_positives} of {num_labelled} test items are positive, but the metrics need both "
                "classes; choose another test split or label"
            )
        if not any({0.0, 1.0} <= set(labels[fold, number].tolist()) for fold in folds):
            raise InputError(f"label {name!r}: no fold tests both classes; give fewer folds")
    for model, draws in scores.items():
        num_bad = int((~np.isfinite(draws) & has_label).sum())
        if num_bad:
            raise InputError(
                f"scores of {model!r}: {num_bad} are not finite; its training diverged, so use an earlier checkpoint "
                "or a lower learning rate"
            )
