"""Label draws: which training images have their labels used, at a fraction and for one of several random draws.

Draws nest: a larger fraction of the same draw holds the smaller one. All labels share the draw. Draws can be written
to a Parquet file and read again, so that two machines, or two papers, learn from the same images.

Legend: M drawn images, L labels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eval.study.protocol import Protocol
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.base.stored import read_parquet
from shards.base.words import as_called
from shards.index import ShardIndex
from shards.options import LabelPolicy

MIN_PER_CLASS = 2
_KINDS = {"fraction": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind), "draw": pa.types.is_integer}
_COLUMNS = ("dataset", "key", "fraction", "draw")

Rows = npt.NDArray[np.int64]
DrawRows = dict[tuple[float, int], Rows]  # by fraction and draw


@dataclass(frozen=True, kw_only=True)
class LabelledDraw:
    """The images of one random draw at one label fraction.

    ``rows`` (M,) are global row numbers, ``labels`` (M, L) 0, 1 or NaN under the policy, ``patients`` (M,).
    ``is_extended`` tells that the fraction held too few images of one class of some label, and the draw was extended
    by the next patients (or images).
    """

    fraction: float
    draw: int
    rows: Rows
    labels: npt.NDArray[np.float32]
    patients: Rows
    is_extended: bool

    @property
    def num_patients(self) -> int:
        """Patients drawn."""
        return len(np.unique(self.patients))

    @property
    def num_images(self) -> list[int]:
        """Images with a label of 0 or 1, for each label."""
        return [int(count) for count in np.isfinite(self.labels).sum(axis=0)]

    @property
    def num_positives(self) -> list[int]:
        """Images with a label of 1, for each label."""
        return [int(count) for count in (self.labels == 1).sum(axis=0)]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of the rows, for the fingerprint of a cell."""
        return hashlib.sha256(np.sort(self.rows).astype("<i8").tobytes()).hexdigest()[:16]


def label_matrix(index: ShardIndex, labels: Sequence[str], policy: LabelPolicy = "ignore") -> npt.NDArray[np.float32]:
    """Labels (N, L) of a selection: 1 present, 0 absent, NaN unlabelled.

    Raises:
        InputError: no label, an unknown one, or one given twice.
    """
    if not labels:
        raise InputError("--label: none given; give at least one")
    if len(set(labels)) < len(labels):
        raise InputError(f"--label {' '.join(labels)}: one is given twice")
    return np.stack([index.labels(name, policy) for name in labels], axis=1)


def labelled_draws(
    train: ShardIndex,
    labels: Sequence[str],
    draws: Mapping[float, int | Sequence[int]],
    *,
    protocol: Protocol,
    imported: DrawRows | None = None,
) -> list[LabelledDraw]:
    """The draws of several fractions, ascending, each extended where needed until it holds two images of each class of
    each label.

    The extension takes the next patients (or images) of the same draw, the fewest that suffice, so draws stay nested.
    Where the whole training set has a single image of a class, that one suffices.

    Args:
        draws: for each fraction their number, or which; fraction 1 can be drawn in one way only and is drawn once.
        imported: rows of :func:`import_draws`, which take the place of drawing.

    Raises:
        InputError: fraction not in (0, 1], unknown label, or one with one class only; draws or positives that are too
            few; an imported draw that is missing or has one class only.
    """
    check_draws(train, labels, draws if imported is None else {}, protocol=protocol)
    values = label_matrix(train, labels, protocol.uncertain)
    patients = train.patients()
    drawn = []
    for fraction, draw in _wanted(draws):
        if imported is None:
            rows, is_extended = _draw_rows(train, values, fraction, draw=draw, protocol=protocol)
        else:
            rows, is_extended = _imported_rows(imported, fraction, draw), False
        at = train.positions(rows)
        chosen = LabelledDraw(
            fraction=fraction,
            draw=draw,
            rows=rows,
            labels=values[at],
            patients=patients[at],
            is_extended=is_extended,
        )
        if imported is not None:
            _require_classes(chosen.labels, labels, what=f"draw {draw} of fraction {fraction:g}")
        drawn.append(chosen)
    return drawn


def check_draws(
    train: ShardIndex, labels: Sequence[str], draws: Mapping[float, int | Sequence[int]], *, protocol: Protocol
) -> None:
    """Refuses labels from which the draws of :func:`labelled_draws` cannot be taken.

    Raises:
        InputError: as there, of the training set.
    """
    values = label_matrix(train, labels, protocol.uncertain)
    _require_classes(values, labels)
    _require_enough(values, train.patients(), labels, _wanted(draws), by=protocol.by)


def import_draws(path: Path, train: ShardIndex) -> DrawRows:
    """Reads draws that :func:`eval.grid.draw_lists.export_draws`, or anybody else, wrote; rows in the order of
    the index.

    Raises:
        InputError: no such file, one without these columns, or images that are not in the training set, naming some.
    """
    try:
        table = read_parquet(path)
    except InputError as error:
        raise InputError(f"--draw-file {path}: {error}; write one with: {as_called('eval draws export')}") from None
    if wrong := wrong_with(table):
        raise InputError(f"--draw-file {path}: {wrong}; one row an image, with the columns {', '.join(_COLUMNS)}")
    known = {
        (dataset, key): row
        for dataset, key, row in zip(train.column("dataset"), train.column("key"), train.rows.tolist(), strict=True)
    }
    images = list(zip(table["dataset"].to_pylist(), table["key"].to_pylist(), strict=True))
    strange = sorted({f"{dataset}/{key}" for dataset, key in images if (dataset, key) not in known})
    if strange:
        raise InputError(
            f"--draw-file {path}: {len(strange)} images are not in the training set, such as {', '.join(strange[:3])}; "
            "give the label, dataset, splits and view that they were drawn from"
        )
    rows: dict[tuple[float, int], list[int]] = {}
    for image, fraction, draw in zip(images, table["fraction"].to_pylist(), table["draw"].to_pylist(), strict=True):
        rows.setdefault((float(fraction), int(draw)), []).append(known[image])
    return {key: np.unique(np.array(members, dtype=np.int64)) for key, members in rows.items()}


def wrong_with(table: pa.Table, columns: Sequence[str] = _COLUMNS) -> str:
    """What keeps a table from holding draws, one row an image; empty where nothing does."""
    absent = [name for name in columns if table.column_names.count(name) != 1]
    if absent or not len(table):
        return f"has no one column {', '.join(absent)}" if absent else "holds no draw"
    for name, column in zip(columns, table.select(columns).columns, strict=True):
        if not _KINDS.get(name, pa.types.is_string)(column.type) or column.null_count:
            return f"its column {name} is {column.type}{' with blanks' if column.null_count else ''}"
    fractions = table["fraction"].to_numpy()
    are_right = ((fractions > 0) & (fractions <= 1)).all() and (table["draw"].to_numpy() >= 0).all()
    return "" if are_right else "holds fractions beyond 0 to 1, or draws below 0"


def _draw_rows(
    train: ShardIndex, values: npt.NDArray[np.float32], fraction: float, *, draw: int, protocol: Protocol
) -> tuple[Rows, bool]:
    """Rows of a draw, and whether it had to be extended; ``values`` (N, L) are the labels of the training set."""
    needed = [np.minimum(MIN_PER_CLASS, (values == kind).sum(axis=0)) for kind in (0, 1)]

    def selection(share: float) -> ShardIndex:
        return train.fraction(share, draw=draw, by=protocol.by, seed=protocol.seed)

    def suffices(chosen: ShardIndex) -> bool:
        held = values[train.positions(chosen.rows)]
        return all(bool(((held == kind).sum(axis=0) >= needed[kind]).all()) for kind in (0, 1))

    drawn = selection(fraction)
    if suffices(drawn):
        return drawn.rows, False
    num_units = len(np.unique(train.patients())) if protocol.by == "patient" else len(train)
    too_few, enough = max(1, round(fraction * num_units)), num_units
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if suffices(selection(middle / num_units)) else (middle, enough)
    return selection(enough / num_units).rows, True


def _imported_rows(imported: DrawRows, fraction: float, draw: int) -> Rows:
    for (share, number), rows in imported.items():
        if number == draw and np.isclose(share, fraction, rtol=1e-9):
            return rows
    held = ", ".join(f"{share:g} draw {number}" for share, number in sorted(imported)[:5])
    raise InputError(f"--draw-file: holds no draw {draw} of fraction {fraction:g}; it has {held}, ...")


def _wanted(draws: Mapping[float, int | Sequence[int]]) -> list[tuple[float, int]]:
    """Each fraction and draw, ascending."""
    return [(fraction, draw) for fraction in sorted(draws) for draw in _numbers(fraction, draws[fraction])]


def _numbers(fraction: float, draws: int | Sequence[int]) -> Sequence[int]:
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"--fraction {fraction:g}: must be above 0 and at most 1; 0.01 means 1 % of the patients")
    numbers = range(draws) if isinstance(draws, int) else draws
    if not len(numbers):
        raise InputError(f"--draws {draws}: must be at least 1")
    return numbers[:1] if fraction == 1.0 else numbers


def _require_classes(values: npt.NDArray[np.float32], labels: Sequence[str], what: str = "the training set") -> None:
    for name, column in zip(labels, values.T, strict=True):
        num_negatives, num_positives = int((column == 0).sum()), int((column == 1).sum())
        if not num_negatives or not num_positives:
            raise InputError(
                f"--label {name!r}: {what} has {num_positives} positive and {num_negatives} negative images, but a "
                "readout needs both; choose another label, split, view or uncertain policy"
            )


def _require_enough(
    values: npt.NDArray[np.float32],
    patients: Rows,
    labels: Sequence[str],
    wanted: Sequence[tuple[float, int]],
    *,
    by: str,
) -> None:
    """Refuses more draws of a fraction than there are positives (or negatives) to tell them apart."""
    num_draws = max((len({draw for share, draw in wanted if share == fraction}) for fraction, _ in wanted), default=0)
    for name, column in zip(labels, values.T, strict=True):
        for kind, word in ((1, "positive"), (0, "negative")):
            held = patients[column == kind] if by == "patient" else np.flatnonzero(column == kind)
            num_held = len(np.unique(held))
            if num_draws > max(1, num_held):
                raise InputError(
                    f"--draws {num_draws}: the training set has {num_held} {word} {by}s of {name!r}, fewer than draws, "
                    f"which would differ in name only; give at most {num_held}"
                )


def few_shot_draw(
    train: ShardIndex, labels: Sequence[str], num_shots: int, *, draw: int, protocol: Protocol
) -> LabelledDraw:
    """Draws ``num_shots`` images of each class of each label, no two of a class and label of one patient.

    ``fraction`` of the result is ``num_shots``. Labels of images that were drawn for another label are NaN, so each
    label has exactly so many. Draws nest: more shots of the same draw hold the fewer.

    Raises:
        InputError: fewer than one shot, an unknown label, or a class with too few patients.
    """
    if num_shots < 1:
        raise InputError(f"--shots {num_shots}: must be at least 1")
    values, patients = label_matrix(train, labels, protocol.uncertain), train.patients()
    chosen = np.full_like(values, np.nan)
    for number, name in enumerate(labels):
        is_positive = values[:, number] == 1
        has_positive = np.isin(patients, patients[is_positive])
        # Patients with images of both classes serve as positives only, so that draws nest.
        members = {"positive": is_positive, "negative": (values[:, number] == 0) & ~has_positive}
        for kind, (word, of_class) in zip((1, 0), members.items(), strict=True):
            order = generator(f"few-shot {name}", protocol.seed, draw, kind).permutation(np.flatnonzero(of_class))
            first = order[np.sort(np.unique(patients[order], return_index=True)[1])]  # one image a patient, in order
            if len(first) < num_shots:
                raise InputError(
                    f"--shots {num_shots}: the training set has only {len(first)} patients with {word} images of "
                    f"{name!r} to draw from; give at most as many"
                )
            chosen[first[:num_shots], number] = kind
    is_drawn = np.isfinite(chosen).any(axis=1)
    return LabelledDraw(
        fraction=float(num_shots),
        draw=draw,
        rows=train.rows[is_drawn],
        labels=chosen[is_drawn],
        patients=patients[is_drawn],
        is_extended=False,
    )
