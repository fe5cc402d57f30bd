"""Rows of a name and figures below each other, for a terminal of 80 columns."""

from collections.abc import Iterator, Sequence

from eval.report.terminal import WIDTH, wrapped

_INDENT, _DEEPER, _GAP = "  ", "    ", "  "
_LEAST = 16  # columns for names, however many figures there are


def tabulate(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of at most 80 columns: the first cell of a row is its name, a row of one cell a caption of those below.

    A name that is too long for its column has a line of its own, above its figures. Figures that have no room beside
    the others come in a second table below. A header may be of several lines.
    """
    cells = [row for row in rows if len(row) > 1]
    widths = [
        max(len(part) for row in (header, *cells) for part in row[column].splitlines() or [""])
        for column in range(len(header))
    ]
    least = min(widths[0], _LEAST)
    start = 1
    while start < len(header):
        end, room = start + 1, WIDTH - len(_INDENT) - len(_GAP) - widths[start]
        while end < len(header) and room - len(_GAP) - widths[end] >= least:
            room -= len(_GAP) + widths[end]
            end += 1
        shown = [min(widths[0], room), *widths[start:end]]
        yield from _heads([header[0], *header[start:end]], shown)
        for row in rows:
            yield from _row([row[0], *row[start:end]], shown)
        start = end


def _heads(header: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """The header, its last lines beside each other."""
    parts = [cell.splitlines() for cell in header]
    height = max(map(len, parts))
    for line in range(height):
        yield _joined([part[line - height + len(part)] if line >= height - len(part) else "" for part in parts], widths)


def _row(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    name, *figures = row
    if not figures:
        yield from wrapped(name, later=_INDENT).splitlines()
        return
    if len(name) > widths[0]:
        yield from wrapped(name, first=_INDENT, later=_DEEPER).splitlines()
        name = ""
    yield _joined([name, *figures], widths)


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = row
    cells = [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True))]
    return f"{_INDENT}{_GAP.join(cells)}".rstrip()
