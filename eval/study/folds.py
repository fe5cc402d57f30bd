"""Cross-validation: every patient is tested once, by models that have not seen it.

Folds are drawn as in scikit-learn's ``StratifiedGroupKFold``: whole patients, those that hold most of the rarest
classes first, each to the fold where the shares of all classes stay most alike. That one takes a single class of each
image; here an image has several labels, and may lack some of them.

Legend: N images, P patients, K folds, C classes (two a label, and all images).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eval.study.draws import label_matrix
from eval.study.partition import Partition
from eval.study.protocol import Protocol
from shards.assumed import of_view
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex

Numbers = npt.NDArray[np.int64]
_VALID_PARTS = 10  # of the training patients, of which one is for validation
_CLASSES = (("positive", 1), ("negative", 0))


def cross_validated(index: ShardIndex, labels: Sequence[str], protocol: Protocol) -> list[Partition]:
    """The partitions of all folds. The test sets hold every image of the selection once; of the training patients of
    each fold a tenth is set aside for validation, stratified too. Whether all sets hold what they should is to be
    checked label by label (:func:`check_folds`).

    Raises:
        InputError: no image of the view position.
    """
    images = of_view(index, protocol.view, what=f"view {protocol.view!r}")
    values, patients = label_matrix(images, labels, protocol.uncertain), images.patients()
    fold = stratified_folds(values, patients, num_folds=protocol.folds, seed=protocol.seed)
    parts = []
    for number in range(protocol.folds):
        rest = np.flatnonzero(fold != number)
        part = stratified_folds(values[rest], patients[rest], num_folds=_VALID_PARTS, seed=protocol.seed)
        # The last part: of what there is too little of, it has none, so that training has some.
        train, valid = (images.take(rest[chosen]) for chosen in (part < _VALID_PARTS - 1, part == _VALID_PARTS - 1))
        parts.append(Partition(train=train, valid=valid, test=images.take(fold == number)))
    return parts


def check_folds(tested: Sequence[ShardIndex], label: str, protocol: Protocol) -> None:
    """Refuses a label of which not every fold tests both classes.

    Raises:
        InputError: says how many folds there can be.
    """
    classes = {word: [_num_patients(test, label, kind, protocol) for test in tested] for word, kind in _CLASSES}
    for word, counts in classes.items():
        if 0 in counts:
            fewest = sum(counts)
            remedy = f"give at most {min(fewest, len(counts) - 1)}" if fewest > 1 else "choose another label"
            what = f"{label!r} has {fewest} {word} patients, but each fold must test one"
            raise InputError(f"--folds {protocol.folds}: {what}; {remedy}")


def _num_patients(index: ShardIndex, label: str, kind: int, protocol: Protocol) -> int:
    return index.take(index.labels(label, protocol.uncertain) == kind).num_patients


def stratified_folds(
    labels: npt.NDArray[np.floating], patients: Numbers, *, num_folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """The fold of each image, (N,), from 0; all images of a patient share it.

    Args:
        labels: (N, L) of 0, 1 and NaN.
        patients: (N,) any numbers that tell patients apart.
        seed: of the order of patients that hold the same.
    """
    names, owner = np.unique(patients, return_inverse=True)
    classes = np.concatenate([labels == 0, labels == 1, np.ones((len(labels), 1))], axis=1).astype(np.float64)
    held = np.zeros((len(names), classes.shape[1]))
    np.add.at(held, owner, classes)
    shares = held / np.maximum(held.sum(axis=0), 1)  # (P, C), of each class
    order = generator("cross-validation", seed).permutation(len(names))
    order = order[np.argsort(-shares[order].sum(axis=1), kind="stable")]
    fold, filled = np.zeros(len(names), dtype=np.int64), np.zeros((num_folds, classes.shape[1]))
    for patient in order.tolist():
        # Wherever it goes the totals are the same, so the sum of squares grows least where this product is smallest.
        fold[patient] = chosen = int(np.argmin(np.round(filled @ shares[patient], 12)))
        filled[chosen] += shares[patient]
    return fold[owner]
