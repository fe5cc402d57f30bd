"""The page that ``python -m shards stats`` prints."""

from collections.abc import Sequence

from shards.base.words import as_size
from shards.checks.stats import DatasetStats, SizeStats, SplitStats


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
        stats.unknown_patients,
        _labels(stats.splits),
        stats.blanks,
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
