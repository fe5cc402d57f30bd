"""The page that ``python -m shards stats`` prints."""

from collections.abc import Iterator, Sequence

from shards.base.words import as_size
from shards.checks.duplicates import Overlap
from shards.checks.stats import DatasetStats, Duplicates, SizeStats, SplitStats


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
        _boxes(stats.splits),
        _table(
            ["pixels", "width (median)", "height (median)", "sizes", "commonest"],
            [_sizes("stored", stats.stored), _sizes("source", stats.source)],
        ),
        f"16 bits a pixel: {stats.num_deep:,} images" if stats.num_deep else "",
        _duplicates_text(stats.duplicates, "identical images", sign="="),
        _duplicates_text(stats.alike, "the same picture at another size, quality or gray scale", sign="~"),
        _not_compared(stats),
        _overlaps(stats),
        _shared_names(stats),
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
    heads = ["label", "split", "present", "absent", "uncertain", "blank", "% of known"]
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


def _boxes(splits: Sequence[SplitStats]) -> str:
    rows = [
        [label, one.name, *(f"{count:,}" for count in one.boxes[label])]
        for label in sorted({label for one in splits for label in one.boxes})
        for one in splits
        if label in one.boxes
    ]
    return _table(["boxes", "split", "images", "boxes"], rows, num_text=2) if rows else ""


def _sizes(name: str, sizes: SizeStats) -> list[str]:
    spans = [f"{low:,}-{high:,} ({median:,})" for low, median, high in (sizes.width, sizes.height)]
    commonest = ", ".join(f"{size} ({count:,})" for size, count in list(sizes.commonest.items())[:2])
    return [name, *spans, f"{sizes.num_sizes:,}", commonest]


def _duplicates_text(found: Duplicates, what: str, *, sign: str) -> str:
    if not found.num_groups:
        return f"{what}: none"
    lines = [
        f"{what}: {found.num_groups:,} groups, {found.num_surplus:,} images more than needed; "
        f"{found.num_across_patients:,} groups under several patients, {found.num_contradicting:,} with labels that "
        "contradict one another"
    ]
    return "\n".join([*lines, *(f"  {f' {sign} '.join(group)}" for group in found.examples)])


def _not_compared(stats: DatasetStats) -> str:
    if not stats.num_not_compared:
        return ""
    return (
        f"not compared at another size or quality: {stats.num_not_compared:,} images, which are elsewhere and have no "
        "fingerprint; copy their dataset here, or pack it again"
    )


def _overlaps(stats: DatasetStats) -> str:
    if len(stats.splits) < 2:
        return "one split only"
    if not stats.overlaps:
        patients = {"all": "no patient and", "some": "no known patient and", "none": "patients unknown;"}
        return f"between the splits: {patients[stats.known_patients]} no picture in two of them"
    return "\n".join(line for one in stats.overlaps for line in _overlap(stats, one))


def _overlap(stats: DatasetStats, one: Overlap) -> Iterator[str]:
    first, second = one.splits
    is_leak = one.num_patients or any(one.num_images)
    patients = {"all": "0 patients in both", "some": "0 of the known patients in both", "none": "patients unknown"}
    shared = f"{one.num_patients:,} patients in both" if one.num_patients else patients[stats.known_patients]
    forms = f", {one.num_alike:,} of the same picture in several forms" if one.num_alike else ""
    yield (
        f"{'LEAK ' if is_leak else ''}between {first} and {second}: {shared}, "
        f"{one.num_identical:,} groups of identical images in both{forms}"
    )
    if any(one.num_images):
        sizes = {split.name: split.num_images for split in stats.splits}
        yield (
            f"  {one.num_images[0]:,} of the {sizes[first]:,} images of {first} are in {second}, and "
            f"{one.num_images[1]:,} of the {sizes[second]:,} of {second} in {first}"
        )
    yield from (f"  patient {patient}" for patient in one.patients)
    yield from (f"  {' = '.join(group)}" for group in one.identical)
    yield from (f"  {' ~ '.join(group)}" for group in one.alike)


def _shared_names(stats: DatasetStats) -> str:
    return "\n".join(
        f"file names in both {' and '.join(one.splits)}: {one.num_names:,}, {one.num_same:,} of them of one picture"
        for one in stats.shared_names
    )


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
