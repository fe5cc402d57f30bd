"""What a dataset holds, as ``python -m shards stats`` prints it: counts by split, labels, views, sizes, identical
images, and leaks between splits.

Expect a few seconds for 223,414 images: only rows are read, and the bytes of images that look alike.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.base.atomic import atomic_write
from shards.base.errors import writing
from shards.base.words import as_size
from shards.checks.duplicates import Overlap, identical_images, split_overlaps
from shards.datasets import Rows
from shards.index import ShardIndex

SPLITS = ("train", "valid", "test")
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
    quantile in years, None where no age is known. ``num_indications``: images whose indication is known."""

    name: str
    num_images: int
    num_patients: int
    num_studies: int
    labels: dict[str, LabelCounts]
    columns: dict[str, dict[str, int]]
    num_indications: int
    age: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class SizeStats:
    """Minimum, median and maximum of width and height in pixels, and the commonest sizes with their counts."""

    width: tuple[int, int, int]
    height: tuple[int, int, int]
    num_sizes: int
    commonest: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Groups of identical images: how many, the images beyond the first of each, the groups that cross patients, those
    whose labels contradict one another, and examples by source path."""

    num_groups: int
    num_surplus: int
    num_across_patients: int
    num_contradicting: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DatasetStats:
    """All of it."""

    datasets: dict[str, int]
    num_images: int
    num_patients: int
    num_bytes: int
    splits: tuple[SplitStats, ...]
    stored: SizeStats
    source: SizeStats
    duplicates: Duplicates
    overlaps: tuple[Overlap, ...]


def dataset_stats(index: ShardIndex) -> DatasetStats:
    """Counts what the selection holds.

    Raises:
        InputError: no rows; a shard with images that look alike is missing.
    """
    index.require_rows("stats")
    table = index.table
    groups = identical_images(index)
    found = set(index.column("split"))
    splits = [split for split in SPLITS if split in found] + sorted(found - set(SPLITS))
    return DatasetStats(
        datasets=dict(Counter(table["dataset"].to_pylist())),
        num_images=len(index),
        num_patients=index.num_patients,
        num_bytes=int(table["length"].to_numpy().sum()),
        splits=tuple(_split_stats(name, index.where(split=name), index.label_names) for name in splits),
        stored=_size_stats(table, "width", "height"),
        source=_size_stats(table, "source_width", "source_height"),
        duplicates=_duplicates(index, groups),
        overlaps=tuple(split_overlaps(index, groups)),
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
        columns={column: _value_counts(table[column]) for column in COLUMNS},
        num_indications=_num_known(table, "indication"),
        age=quantiles,  # type: ignore[arg-type]
    )


def _num_known(table: pa.Table, column: str) -> int:
    """Rows that have a text; a dataset without any lacks the column."""
    return len(table) - table[column].null_count if column in table.column_names else 0


def _label_counts(values: npt.NDArray[np.float64]) -> LabelCounts:
    return LabelCounts(
        present=int((values == 1).sum()),
        absent=int((values == 0).sum()),
        uncertain=int((values == -1).sum()),
        blank=int(np.isnan(values).sum()),
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


def stats_text(stats: DatasetStats) -> str:
    """Aligned plain text: counts, labels by split, views, sizes, identical images, leaks."""
    named = ", ".join(f"{name} ({count:,})" for name, count in stats.datasets.items())
    parts = [
        f"{stats.num_images:,} images of {stats.num_patients:,} patients, {as_size(stats.num_bytes)}; "
        f"datasets: {named}",
        _table(
            ["split", "images", "patients", "studies", "age 5 % / median / 95 %"],
            [
                [one.name, f"{one.num_images:,}", f"{one.num_patients:,}", f"{one.num_studies:,}", _age(one)]
                for one in stats.splits
            ],
        ),
        _labels(stats.splits),
        *(_columns(stats.splits, column) for column in stats.splits[0].columns),
        _indications(stats.splits),
        _table(
            ["pixels", "width min / median / max", "height min / median / max", "sizes", "commonest"],
            [_sizes("stored", stats.stored), _sizes("source", stats.source)],
        ),
        _duplicates_text(stats),
        _overlaps(stats),
    ]
    return "\n\n".join(part for part in parts if part)


def _labels(splits: Sequence[SplitStats]) -> str:
    rows = []
    for label in splits[0].labels:
        for one in splits:
            counts = one.labels[label]
            known = counts.present + counts.absent
            share = f"{100 * counts.present / known:.1f}" if known else "-"
            numbers = (counts.present, counts.absent, counts.uncertain, counts.blank)
            rows.append([label, one.name, *(f"{number:,}" for number in numbers), share])
    heads = ["label", "split", "present", "absent", "uncertain", "blank", "present % of known"]
    return _table(heads, rows, num_text=2) if rows else "no labels"


def _columns(splits: Sequence[SplitStats], column: str) -> str:
    values = list(dict.fromkeys(value for one in splits for value in one.columns[column]))
    if values == ["(blank)"]:
        return ""
    return _table(
        [column, *values], [[one.name, *(f"{one.columns[column].get(v, 0):,}" for v in values)] for one in splits]
    )


def _indications(splits: Sequence[SplitStats]) -> str:
    if not any(one.num_indications for one in splits):
        return ""
    return _table(
        ["indication", "known", "(blank)"],
        [[one.name, f"{one.num_indications:,}", f"{one.num_images - one.num_indications:,}"] for one in splits],
    )


def _sizes(name: str, sizes: SizeStats) -> list[str]:
    spans = [" / ".join(f"{value:,}" for value in span) for span in (sizes.width, sizes.height)]
    commonest = ", ".join(f"{size} ({count:,})" for size, count in sizes.commonest.items())
    return [name, *spans, f"{sizes.num_sizes:,}", commonest]


def _duplicates_text(stats: DatasetStats) -> str:
    found = stats.duplicates
    if not found.num_groups:
        return "identical images: none"
    lines = [
        f"identical images: {found.num_groups:,} groups, {found.num_surplus:,} images more than needed; "
        f"{found.num_across_patients:,} groups under several patients, {found.num_contradicting:,} with labels that "
        "contradict one another"
    ]
    return "\n".join([*lines, *(f"  {' = '.join(group)}" for group in found.examples)])


def _overlaps(stats: DatasetStats) -> str:
    if len(stats.splits) < 2:
        return "one split only"
    if not stats.overlaps:
        return "between the splits: no patient and no identical image in two of them"
    lines = []
    for one in stats.overlaps:
        lines.append(
            f"LEAK between {one.splits[0]} and {one.splits[1]}: {one.num_patients:,} patients in both, "
            f"{one.num_identical:,} groups of identical images in both"
        )
        lines += [f"  patient {patient}" for patient in one.patients]
        lines += [f"  {' = '.join(group)}" for group in one.identical]
    return "\n".join(lines)


def _age(split: SplitStats) -> str:
    return "-" if split.age is None else " / ".join(f"{value:.0f}" for value in split.age)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, num_text: int = 1) -> str:
    """Columns two spaces apart; the first ``num_text`` to the left, the others to the right."""
    widths = [max(len(line[i]) for line in (heads, *rows)) for i in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < num_text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (heads, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)
