"""Three sets of images that share no patient: those that are learnt from, chosen by, and tested on. Images of which
nothing is known belong to none of them, so that a share of the patients is one of those that have labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.study.protocol import Protocol, ViewChoice
from shards.assumed import of_view
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex

_VALID_SHARE = 0.1

# Sowrirajan et al. (arXiv 2010.05352), Shenzhen protocol.
SHENZHEN_LABEL = "Tuberculosis"
SHENZHEN_SHARES = {"train": 0.65, "valid": 0.15, "test": 0.20}
SHENZHEN_RATIO = (0.9, 1.2)
SHENZHEN_DRAWS = {1 / 128: 12, 1 / 64: 10, 1 / 32: 8, 1 / 16: 8, 1 / 8: 4, 1 / 4: 4, 1 / 2: 4, 1.0: 1}
"""Draws of each label fraction."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """``train`` is what label draws are taken from; ``valid`` and ``test`` are scored whole."""

    train: ShardIndex
    valid: ShardIndex
    test: ShardIndex


def labelled_images(index: ShardIndex, labels: Sequence[str]) -> ShardIndex:
    """The images of which at least one of the labels is known, as present, absent or uncertain.

    Raises:
        InputError: there are none.
    """
    is_known = np.any([index.is_said(label) for label in labels], axis=0)
    return index.take(is_known).require_rows(f"--label {' '.join(labels)}: a known label")


def partition(index: ShardIndex, protocol: Protocol) -> Partition:
    """The three sets of a protocol.

    Raises:
        InputError: one is empty, or two share patients.
    """
    if protocol.split_rule == "shenzhen":
        parts = shenzhen_split(of_view(index, protocol.view, what=f"view {protocol.view!r}"), seed=protocol.seed)
    else:
        learnt_from, tested_on = index, None
        if protocol.left_out is not None:
            learnt_from, left_out = leave_out(index, protocol.left_out)
            what = f"--left-out {protocol.left_out} with view {protocol.view!r}"
            tested_on = of_view(left_out, protocol.view, what=what).require_rows(what)
        train = select(learnt_from, split=protocol.train_split, view=protocol.view)
        if protocol.valid_split is None:
            train, valid = set_aside(train, seed=protocol.seed)
        else:
            valid = select(learnt_from, split=protocol.valid_split, view=protocol.view)
        if tested_on is None:
            tested_on = select(index, split=protocol.test_split, view=protocol.view)
        parts = Partition(train=train, valid=valid, test=tested_on)
    require_disjoint(parts.train, parts.test, option="--test-split", names=("training", "test"))
    require_disjoint(parts.train, parts.valid, option="--valid-split", names=("training", "validation"))
    require_disjoint(parts.valid, parts.test, option="--test-split", names=("validation", "test"))
    return parts


def select(index: ShardIndex, *, split: str, view: ViewChoice = "all") -> ShardIndex:
    """The images of a split and view position.

    Raises:
        InputError: there are none.
    """
    what = f"split {split!r} with view {view!r}, labelled"
    return of_view(index.where(split=split).require_rows(what), view, what=what)


def set_aside(train: ShardIndex, *, seed: int) -> tuple[ShardIndex, ShardIndex]:
    """The training images less those of a tenth of the patients, at least one, and those, for validation.

    Raises:
        InputError: there is one patient only.
    """
    patients = train.patients()
    names = np.unique(patients)
    if len(names) < 2:
        raise InputError(
            "--valid-split: the dataset has none, and its training split has one patient only, so none can be set "
            "aside; give a split"
        )
    order = generator("validation patients", seed).permutation(len(names))
    is_valid = np.isin(patients, names[order[: max(1, round(_VALID_SHARE * len(names)))]])
    return train.take(~is_valid), train.take(is_valid)


def leave_out(index: ShardIndex, dataset: str) -> tuple[ShardIndex, ShardIndex]:
    """All other datasets, and this one: what is learnt at some hospitals is tested at another.

    Raises:
        InputError: no such dataset, or no other.
    """
    names = index.column("dataset")
    known = sorted(set(names))
    if dataset not in known:
        raise InputError(f"--left-out {dataset}: no such dataset with labels was opened; known: {', '.join(known)}")
    if len(known) == 1:
        raise InputError(f"--left-out {dataset}: is the only dataset; give others beside it to learn from")
    return index.take(names != dataset), index.take(names == dataset)


def shenzhen_split(index: ShardIndex, *, seed: int = 0, label: str = SHENZHEN_LABEL) -> Partition:
    """65 / 15 / 20 % of the patients, drawn within each class, whatever splits the index has (MoCo-CXR's rule).

    A patient is positive with any positive image; patients without a label are left out.

    Raises:
        InputError: unknown label, or positives over negatives outside 0.9 to 1.2 in one of the sets.
    """
    values, patients = index.labels(label), index.patients()
    classes = {kind: np.unique(patients[values == kind]) for kind in (0, 1)}
    classes[0] = np.setdiff1d(classes[0], classes[1])
    chosen: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in SHENZHEN_SHARES}
    for kind, members in classes.items():
        order = members[generator("shenzhen protocol", seed, kind).permutation(len(members))]
        num_valid, num_test = (round(SHENZHEN_SHARES[name] * len(members)) for name in ("valid", "test"))
        cuts = np.split(order, [num_valid, num_valid + num_test])
        for name, part in zip(("valid", "test", "train"), cuts, strict=True):
            chosen[name].append(part)
    low, high = SHENZHEN_RATIO
    for name, (negatives, positives) in chosen.items():
        if not low * len(negatives) <= len(positives) <= high * len(negatives) or not len(positives):
            raise InputError(
                f"split rule shenzhen, label {label!r}: {len(positives)} positive and {len(negatives)} negative "
                f"patients in {name}, but their ratio must be {low:g} to {high:g}; use the dataset's own splits"
            )
    parts = {name: index.take(np.isin(patients, np.concatenate(part))) for name, part in chosen.items()}
    return Partition(train=parts["train"], valid=parts["valid"], test=parts["test"])


def require_disjoint(
    train: ShardIndex,
    test: ShardIndex,
    *,
    option: str = "--test-split",
    names: tuple[str, str] = ("training", "test"),
) -> None:
    """Refuses two sets that share patients.

    Raises:
        InputError: names some of the shared patients.
    """
    shared = sorted(_patient_names(train) & _patient_names(test))
    if shared:
        some = ", ".join(patient for _, patient in shared[:3])
        raise InputError(
            f"{option}: {len(shared)} patients are in both the {names[0]} and the {names[1]} set, such as {some}; "
            "choose splits that share no patient"
        )


def _patient_names(index: ShardIndex) -> set[tuple[str, str]]:
    return set(zip(index.column("dataset"), index.column("patient_id"), strict=True))
