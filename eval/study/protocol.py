"""The rules of an evaluation, settled once for all of its starts: who learns, who chooses, who is tested, and how.

clean       (default) label draws by patient, batch norm frozen, one checkpoint chosen on validation patients,
            intervals by resampling patients
published   as in MoCo-CXR (Sowrirajan et al., arXiv 2010.05352, section 3): label draws by image, uncertain labels
            masked, batch norm trained, up to ten checkpoints averaged, intervals by resampling studies
cross-validated   as clean, but in folds of patients, whatever splits the dataset has: each image is tested once, by a
            model that has not seen its patient (:mod:`eval.study.folds`)

In all, the fraction is one of training labels alone: the validation set is the same, and whole, at every fraction.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from shards.base.errors import InputError
from shards.base.words import as_called
from shards.options import LabelPolicy

if TYPE_CHECKING:
    from shards.index import ShardIndex

ProtocolName = Literal["clean", "published", "cross-validated"]
ViewChoice = Literal["all", "frontal", "lateral"]
SplitRule = Literal["dataset", "shenzhen"]
Unit = Literal["patient", "study"]
NUM_FOLDS = 5
EVERY = "all"  # stands for the splits of what is cross-validated


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Made by :func:`choose_protocol`, which fills in what follows from the name and the dataset.

    ``by``: what label draws take whole. ``valid_split`` None: a tenth of the training patients is set aside.
    ``split_rule`` shenzhen: the splits are drawn by ``seed`` (:func:`eval.study.partition.shenzhen_split`) and the
    three split names are not looked at. ``left_out``: a dataset that is tested on, and on all of it; the others are
    trained on. ``folds`` is 0 where nothing is cross-validated.
    """

    name: ProtocolName
    by: Literal["patient", "image"]
    uncertain: LabelPolicy
    view: ViewChoice
    train_split: str
    valid_split: str | None
    test_split: str
    seed: int
    split_rule: SplitRule = "dataset"
    left_out: str | None = None
    folds: int = 0

    @property
    def unit(self) -> Unit:
        """What the bootstrap resamples: test patients, or test studies."""
        return "study" if self.name == "published" else "patient"


def choose_protocol(
    index: "ShardIndex",
    name: ProtocolName = "clean",
    *,
    uncertain: LabelPolicy | None = None,
    view: ViewChoice = "all",
    train_split: str = "train",
    valid_split: str | None = None,
    test_split: str | None = None,
    split_rule: SplitRule = "dataset",
    left_out: str | None = None,
    folds: int | None = None,
    seed: int = 0,
) -> Protocol:
    """The protocol for a dataset.

    Args:
        uncertain: default: ignore, which masks them.
        valid_split: default: ``valid`` if the dataset has such images and is not tested on them; else none, so that a
            tenth of the training patients is set aside.
        test_split: default: ``test`` if the dataset has such images, else ``valid``.
        folds: of cross-validation; default: 5.

    Raises:
        InputError: an unknown name, a published protocol with another policy, no test split, splits that are equal,
            splits in cross-validation, or folds without it.
    """
    if name not in get_args(ProtocolName):
        raise InputError(f"--protocol {name!r}: unknown; give {' or '.join(get_args(ProtocolName))}")
    if name == "cross-validated":
        _refuse_splits(train_split, valid_split, test_split, split_rule, left_out)
        train_split = test_split = EVERY
    elif folds is not None:
        raise InputError(f"--folds {folds}: goes with --protocol cross-validated; give both or neither")
    if name == "published" and uncertain not in (None, "ignore"):
        raise InputError(
            f"--uncertain {uncertain}: the published protocol masks uncertain labels; give --protocol clean"
        )
    if split_rule == "shenzhen" and left_out is not None:
        raise InputError(f"--left-out {left_out}: goes with the dataset's own splits; leave the shenzhen rule away")
    if test_split is None:
        test_split = "test" if split_rule == "shenzhen" or left_out is not None else default_test_split(index)
    if (
        name != "cross-validated"
        and valid_split is None
        and test_split != "valid"
        and train_split != "valid"
        and len(index.where(split="valid"))
    ):
        valid_split = "valid"
    if split_rule == "dataset" and name != "cross-validated":
        _require_different(train_split, valid_split, None if left_out is not None else test_split)
    return Protocol(
        name=name,
        by="image" if name == "published" else "patient",
        uncertain=uncertain or "ignore",
        view=view,
        train_split=train_split,
        valid_split=valid_split,
        test_split=test_split,
        seed=seed,
        split_rule=split_rule,
        left_out=left_out,
        folds=(folds or NUM_FOLDS) if name == "cross-validated" else 0,
    )


def default_test_split(index: "ShardIndex") -> str:
    """``test`` if the dataset has such images, else ``valid``.

    Raises:
        InputError: it has neither.
    """
    for split in ("test", "valid"):
        if len(index.where(split=split)):
            return split
    raise InputError("--test-split: the dataset has no images of split test or valid; pack it with one of them")


def _refuse_splits(
    train_split: str, valid_split: str | None, test_split: str | None, split_rule: SplitRule, left_out: str | None
) -> None:
    for option, value, default in (
        ("--train-split", train_split, "train"),
        ("--valid-split", valid_split, None),
        ("--test-split", test_split, None),
        ("--split-rule", split_rule, "dataset"),
        ("--left-out", left_out, None),
    ):
        if value != default:
            raise InputError(
                f"{option} {value}: cross-validation tests every image of --data, whatever its split; leave it away, "
                f"or choose images by `{as_called('shards subset')}`"
            )


def _require_different(train_split: str, valid_split: str | None, test_split: str | None) -> None:
    if valid_split == train_split:
        raise InputError(f"--valid-split {valid_split}: is the training split; give another")
    if test_split is not None and test_split == valid_split:
        raise InputError(f"--test-split {test_split}: is the validation split; give another")
    if test_split == train_split:
        raise InputError(f"--test-split {test_split}: is the training split; give another")
