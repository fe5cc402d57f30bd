"""What a dataset holds: counts by split, labels, views, sizes, the same picture several times, leaks between splits.

Only rows are read, and images that look alike; datasets packed before there were fingerprints are read whole. Expect
10 s for 100,000 images and idle core, most of it comparing fingerprints, and 1 ms for each pair that is looked at.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.assumed import Known, blanks_in_words, known_patients, patients_in_words
from shards.base.atomic import atomic_write
from shards.base.errors import writing
from shards.checks.alike import num_not_compared, same_pictures
from shards.checks.duplicates import (
    Overlap,
    SharedNames,
    identical_images,
    in_several_forms,
    same_names,
    shared_names,
    split_overlaps,
)
from shards.datasets import Rows
from shards.drawn import drawn_boxes
from shards.format.blank import UNKNOWN
from shards.format.schema import SPLITS
from shards.index import ShardIndex

COLUMNS = ("view", "projection", "sex")


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Images of one label in one split, by what is said of them."""

    present: int
    absent: int
    uncertain: int
    blank: int


@dataclass(frozen=True, kw_only=True)
class SplitStats:
    """One split. ``columns``: the number of images by value of each of :data:`COLUMNS`. ``age``: 5 %, median and 95 %
    quantile in years, None where no age is known. ``num_indications``: images whose indication is
    known. ``boxes``: of each finding that readers drew, the images with boxes of it and these boxes."""

    name: str
    num_images: int
    num_patients: int
    num_studies: int
    labels: dict[str, LabelCounts]
    columns: dict[str, dict[str, int]]
    num_indications: int
    age: tuple[float, float, float] | None
    boxes: dict[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class SizeStats:
    """Minimum, median and maximum of width and height in pixels, and the commonest sizes with their counts."""

    width: tuple[int, int, int]
    height: tuple[int, int, int]
    num_sizes: int
    commonest: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Groups of images of one picture: how many, the images beyond the first of each, the groups that cross patients,
    those whose labels contradict one another, and examples by source path."""

    num_groups: int
    num_surplus: int
    num_across_patients: int
    num_contradicting: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DatasetStats:
    """All of it. ``blanks`` says in words what a blank label means, ``unknown_patients`` where each image counts as a
    patient of its own. ``duplicates`` are identical images, ``alike`` show one picture at several sizes, qualities or
    gray scales; ``num_not_compared`` images were not looked at for it. ``num_deep`` have 16 bits a pixel."""

    datasets: dict[str, int]
    num_images: int
    num_patients: int
    num_bytes: int
    blanks: str
    unknown_patients: str
    known_patients: Known
    splits: tuple[SplitStats, ...]
    stored: SizeStats
    source: SizeStats
    duplicates: Duplicates
    alike: Duplicates
    num_not_compared: int
    num_deep: int
    overlaps: tuple[Overlap, ...]
    shared_names: tuple[SharedNames, ...]


def dataset_stats(index: ShardIndex) -> DatasetStats:
    """Counts what the selection holds.

    Raises:
        InputError: no rows; a shard with images that look alike is missing, or one of them cannot be decoded.
    """
    index.require_rows("stats")
    table = index.table
    identical, named = identical_images(index), same_names(index)
    same = same_pictures(index, identical, named)
    found = set(index.column("split"))
    splits = [split for split in SPLITS if split in found] + sorted(found - set(SPLITS))
    return DatasetStats(
        datasets=dict(Counter(table["dataset"].to_pylist())),
        num_images=len(index),
        num_patients=index.num_patients,
        num_bytes=int(table["length"].to_numpy().sum()),
        blanks=blanks_in_words(index, index.label_names) if index.label_names else "",
        unknown_patients=patients_in_words(index),
        known_patients=known_patients(index),
        splits=tuple(_split_stats(name, index.where(split=name), index.label_names) for name in splits),
        stored=_size_stats(table, "width", "height"),
        source=_size_stats(table, "source_width", "source_height"),
        duplicates=_duplicates(index, identical),
        alike=_duplicates(index, in_several_forms(same, identical)),
        num_not_compared=num_not_compared(index),
        num_deep=sum(index.packed[number].depth == 16 for number in index.packed_numbers().tolist()),
        overlaps=tuple(split_overlaps(index, identical, same)),
        shared_names=tuple(shared_names(index, same, named)),
    )


def _split_stats(name: str, index: ShardIndex, label_names: tuple[str, ...]) -> SplitStats:
    table = index.table
    studies = table.group_by(["dataset", "patient_id", "study_id"]).aggregate([])
    age = index.column("age")
    known = age[~np.isnan(age)]
    quantiles = tuple(float(value) for value in np.quantile(known, [0.05, 0.5, 0.95])) if len(known) else None
    return SplitStats(
        name=name,
        num_images=len(index),
        num_patients=index.num_patients,
        num_studies=len(studies),
        labels={label: _label_counts(index.column(label)) for label in label_names},
        columns={column: _value_counts(table[column]) for column in (*COLUMNS, *index.kept_columns)},
        num_indications=_num_known(table, "indication"),
        age=quantiles,  # type: ignore[arg-type]
        boxes=_box_counts(index),
    )


def _box_counts(index: ShardIndex) -> dict[str, tuple[int, int]]:
    images: Counter[str] = Counter()
    boxes: Counter[str] = Counter()
    for drawn in drawn_boxes(index):
        labels = [box.label for box in drawn or ()]
        boxes.update(labels)
        images.update(set(labels))
    return {label: (images[label], boxes[label]) for label in sorted(boxes)}


def _num_known(table: pa.Table, column: str) -> int:
    """Rows that have a text; a dataset without any lacks the column."""
    return len(table) - table[column].null_count if column in table.column_names else 0


def _label_counts(values: npt.NDArray[np.float64]) -> LabelCounts:
    return LabelCounts(
        present=int((values == 1).sum()),
        absent=int((values == 0).sum()),
        uncertain=int((values == -1).sum()),
        blank=int((np.isnan(values) | (values == UNKNOWN)).sum()),
    )


def _value_counts(column: pa.ChunkedArray) -> dict[str, int]:
    counts = Counter("(blank)" if value is None else value for value in column.to_pylist())
    return dict(counts.most_common())


def _size_stats(table: pa.Table, width: str, height: str) -> SizeStats:
    sides = {name: table[name].to_numpy() for name in (width, height)}
    spans = {name: (int(side.min()), int(np.median(side)), int(side.max())) for name, side in sides.items()}
    sizes = table.group_by([width, height]).aggregate([([], "count_all")]).sort_by([("count_all", "descending")])
    commonest = {f"{row[width]}x{row[height]}": row["count_all"] for row in sizes.slice(0, 3).to_pylist()}
    return SizeStats(width=spans[width], height=spans[height], num_sizes=len(sizes), commonest=commonest)


def _duplicates(index: ShardIndex, groups: list[Rows]) -> Duplicates:
    patients, sources = index.patients(), index.column("source_path")
    labels = [index.column(name) for name in index.label_names]
    contradicting = [group for group in groups if any(_contradict(values[group]) for values in labels)]
    first = {id(group) for group in contradicting}
    examples = [*contradicting, *(group for group in groups if id(group) not in first)][:3]
    return Duplicates(
        num_groups=len(groups),
        num_surplus=sum(len(group) - 1 for group in groups),
        num_across_patients=sum(len(np.unique(patients[group])) > 1 for group in groups),
        num_contradicting=len(contradicting),
        examples=tuple(tuple(sources[group]) for group in examples),
    )


def _contradict(values: npt.NDArray[np.float64]) -> bool:
    return bool((values == 1).any() and (values == 0).any())


def write_stats(stats: DatasetStats, output: Path) -> None:
    """Writes the counts as JSON.

    Raises:
        InputError: ``output`` cannot be written.
    """
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(output, json.dumps(asdict(stats), indent=2) + "\n")
