"""One cell of a comparison: what one readout of one start, trained on one label draw, says of the test images.

Everything that is reported later (AUROC, intervals, subgroups, calibration) is computed from the cells and the index,
so a comparison that was interrupted goes on with the cells that are missing.

Legend: N test images, M validation images, L labels.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from eval.study.draws import LabelledDraw
from eval.study.partition import Partition
from eval.study.protocol import Protocol
from shards.base.atomic import atomic_file
from shards.base.bounds import Count
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import parse_json, read_arrays

FORMAT_VERSION = 1
Scores = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], dict[str, Any]]
"""Logits of the validation images (M, L) and of the test images (N, L), and details."""
_ARRAYS = ("test_rows", "scores", "valid_rows", "valid_scores")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_NAME = re.compile(r"([^/]+)/([^/]+)/([^/]+)-draw(\d+)(?:-fold(\d+))?")


@dataclass(frozen=True, kw_only=True, order=True)
class CellKey:
    """Which cell. ``start`` is the name of one encoder (``StartEncoder.id``): ``pretrained``, or ``random-0`` where a
    start has several. ``fraction`` is the share of the training labels; for the few-shot readout, which takes a number
    of images a class, that number. ``fold`` counts from 1 in cross-validation; else it is 0.

    Raises:
        InputError: a readout or start whose name is not safe in a file name.
    """

    readout: str
    start: str
    fraction: float
    draw: int
    fold: int = 0

    def __post_init__(self) -> None:
        for name, value in (("readout", self.readout), ("start", self.start)):
            if not _SAFE.fullmatch(value):
                raise InputError(f"{name} {value!r}: names a file; use letters, digits and . _ + -")

    @property
    def name(self) -> str:
        """Such as ``linear/pretrained/0.01-draw2``; the cell's file has this path below the folder of the cells."""
        fold = f"-fold{self.fold}" if self.fold else ""
        return f"{self.readout}/{self.start}/{self.fraction:.10g}-draw{self.draw}{fold}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """The key of a :attr:`name`.

        Raises:
            InputError: it is none.
        """
        match = _NAME.fullmatch(name)
        try:
            if match:
                fraction, draw, fold = float(match[3]), int(match[4]), int(match[5] or 0)
                return cls(readout=match[1], start=match[2], fraction=fraction, draw=draw, fold=fold)
        except ValueError:
            pass  # a fraction that is no number, told below
        raise InputError(f"cell {name!r}: names no cell; one looks like linear/pretrained/0.01-draw2")


@dataclass(frozen=True, kw_only=True)
class _About:
    """What a cell's file holds beside its arrays."""

    format_version: int
    key: CellKey
    fingerprint: str
    labels: tuple[str, ...]
    num_patients: Count
    num_images: list[Count]
    num_positives: list[Count]
    is_extended: bool
    details: dict[str, Any]
    seconds: float

    def __post_init__(self) -> None:
        if not len(self.num_images) == len(self.num_positives) == len(self.labels):
            raise InputError("counts of other labels")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """``test_rows`` (N,) and ``valid_rows`` (M,) are global row numbers, ``scores`` (N, L) and ``valid_scores`` (M, L)
    float32 logits of these images. All images of the test split are scored, whether or not a label of theirs is known.

    ``folds`` (N,) tells the model that scored a test image, where several have (:func:`joined`); else it is None.
    ``num_images`` and ``num_positives`` count the labelled training images of each label, ``num_patients`` all patients
    of the draw. ``details`` holds what JSON can: strength, epochs, encoder_hash, and the like. ``fingerprint`` is that
    of :func:`cell_fingerprint`.
    """

    key: CellKey
    fingerprint: str
    labels: tuple[str, ...]
    test_rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    valid_rows: npt.NDArray[np.int64]
    valid_scores: npt.NDArray[np.float32]
    num_patients: int
    num_images: list[int]
    num_positives: list[int]
    is_extended: bool
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    folds: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        assert self.scores.shape == (len(self.test_rows), len(self.labels))
        assert self.valid_scores.shape == (len(self.valid_rows), len(self.labels))
        assert len(self.num_images) == len(self.num_positives) == len(self.labels)


def cell_of_draw(
    key: CellKey,
    draw: LabelledDraw,
    parts: Partition,
    scores: Scores,
    *,
    labels: Sequence[str],
    encoder_hash: str,
    fingerprint: str,
    seconds: float = 0.0,
) -> Cell:
    """The cell of ``scores`` that were learnt from a draw."""
    valid_scores, test_scores, details = scores
    return Cell(
        key=key,
        fingerprint=fingerprint,
        labels=tuple(labels),
        test_rows=parts.test.rows,
        scores=test_scores,
        valid_rows=parts.valid.rows,
        valid_scores=valid_scores,
        num_patients=draw.num_patients,
        num_images=draw.num_images,
        num_positives=draw.num_positives,
        is_extended=draw.is_extended,
        details=details | {"encoder_hash": encoder_hash, "draw_hash": draw.hash},
        seconds=seconds,
    )


def joined(cells: Sequence[Cell]) -> Cell:
    """The cells of all folds of one draw as one: every test image with the score of its fold's model, in row order.
    Counts are means over the folds, ``details["folds"]`` has those of each. Another cell is left as it is."""
    first = cells[0]
    if not first.key.fold:
        return first
    rows = np.concatenate([cell.test_rows for cell in cells])
    order = np.argsort(rows)

    def mean(values: Sequence[Sequence[int]]) -> list[int]:
        return [round(value) for value in np.mean(values, axis=0)]

    return replace(
        first,
        key=replace(first.key, fold=0),
        test_rows=rows[order],
        scores=np.concatenate([cell.scores for cell in cells])[order],
        folds=np.repeat([cell.key.fold for cell in cells], [len(cell.test_rows) for cell in cells])[order],
        valid_rows=np.concatenate([cell.valid_rows for cell in cells]),
        valid_scores=np.concatenate([cell.valid_scores for cell in cells]),
        num_patients=mean([[cell.num_patients] for cell in cells])[0],
        num_images=mean([cell.num_images for cell in cells]),
        num_positives=mean([cell.num_positives for cell in cells]),
        is_extended=any(cell.is_extended for cell in cells),
        details={
            "encoder_hash": first.details["encoder_hash"],
            "folds": [{"fold": cell.key.fold, **cell.details} for cell in cells],
        },
        seconds=sum(cell.seconds for cell in cells),
    )


def cell_fingerprint(
    *,
    encoder_hash: str,
    protocol: Protocol,
    datasets: Sequence[str],
    labels: Sequence[str],
    settings: Mapping[str, Any] | None = None,
) -> str:
    """16 hexadecimal digits that change with anything a cell's scores depend on, other than its key.

    Args:
        encoder_hash: ``StartEncoder.hash``.
        datasets: ``ShardIndex.fingerprints``.
        settings: of the readout, as JSON can hold them; the hash of an imported draw's rows belongs here too.
    """
    rules = asdict(protocol)
    if not protocol.folds:
        del rules["folds"]  # as it was before there were any
    described = {
        "encoder": encoder_hash,
        "protocol": rules,
        "datasets": list(datasets),
        "labels": list(labels),
        "settings": dict(settings or {}),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def cell_path(folder: Path, key: CellKey) -> Path:
    """The file of a cell, below the folder of the cells."""
    return folder / f"{key.name}.npz"


def save_cell(folder: Path, cell: Cell) -> Path:
    """Writes the cell's file, whole or not at all, and returns its path.

    Raises:
        InputError: scores that are not finite.
    """
    num_bad = int((~np.isfinite(cell.scores).all(axis=1)).sum() + (~np.isfinite(cell.valid_scores).all(axis=1)).sum())
    if num_bad:
        raise InputError(
            f"cell {cell.key.name}: the scores of {num_bad} images are not finite; its training diverged, so use "
            "another checkpoint or a lower learning rate"
        )
    path = cell_path(folder, cell.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {name: value for name, value in vars(cell).items() if name not in (*_ARRAYS, "key", "folds")}
    about |= {"key": asdict(cell.key), "format_version": FORMAT_VERSION}
    arrays = {name: getattr(cell, name) for name in _ARRAYS}
    with atomic_file(path) as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
    return path


def load_cell(folder: Path, key: CellKey, *, fingerprint: str | None = None) -> Cell | None:
    """The stored cell; None where there is none, where it is of another ``fingerprint`` or format version, or where
    its file is damaged: all of these are to be computed anew."""
    try:
        arrays: dict[str, Any] = read_arrays(cell_path(folder, key), ("about", *_ARRAYS))
        about = from_written(_About, parse_json(str(arrays.pop("about"))))
        if about.format_version != FORMAT_VERSION or about.key != key or fingerprint not in (None, about.fingerprint):
            return None
        _check_arrays(arrays, num_labels=len(about.labels))
    except InputError:
        return None
    fields = {name: value for name, value in vars(about).items() if name != "format_version"}
    return Cell(**fields, **arrays)


def _check_arrays(arrays: Mapping[str, npt.NDArray[Any]], *, num_labels: int) -> None:
    for part in ("", "valid_"):
        rows, scores = arrays[f"{part or 'test_'}rows"], arrays[f"{part}scores"]
        if rows.ndim != 1 or rows.dtype != np.int64 or scores.dtype != np.float32:
            raise InputError("arrays of other types")
        if scores.shape != (len(rows), num_labels) or not np.isfinite(scores).all():
            raise InputError("scores that are no number an image and label")


def stored_cells(folder: Path) -> list[CellKey]:
    """The keys of all cells below ``folder``, sorted."""
    paths = folder.glob("*/*/*-draw*.npz")
    return sorted(CellKey.parse(path.relative_to(folder).as_posix().removesuffix(".npz")) for path in paths)
