"""Tables and sentences for a terminal of 80 columns."""

import textwrap
from collections.abc import Iterator, Sequence

WIDTH = 80
_KEPT = 2  # columns that stay beside each other however wide they are


def wrapped(text: str, *, first: str = "", later: str = "") -> str:
    """Each line of the text, broken between words; ``first`` stands before it, ``later`` before what it goes on in."""
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(map(wrapper.fill, text.splitlines()))


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns below each other, under their names. A blank cell is as in the line above.

    What does not fit the width goes, from the left on, into lines of its own above those that share it:

        start       AUROC [95 % CI]    minus random [95 % CI]
        ------------------------------------------------------
        labelled 1 %; images (positive) ~10 (~2)
        random      .700 [.650, .750]
        pretrained  .800 [.760, .840]  +.100 [+.070, +.130]
    """
    rows = [header, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    num_above = 0
    while num_above < len(header) - _KEPT and sum(widths[num_above:]) + 2 * (len(header) - num_above - 1) > WIDTH:
        num_above += 1

    def joined(row: Sequence[str]) -> str:
        cells = zip(row[num_above:], widths[num_above:], strict=True)
        return "  ".join(cell.ljust(width) for cell, width in cells).rstrip()

    told: list[str] = []
    for heading, line in headed(header, lines, num_above):
        told += wrapped(heading).splitlines()
        told.append(joined(line))
    title = joined(header)
    return "\n".join([title, "-" * max(map(len, [title, *told])), *told])


def headed(
    header: Sequence[str], lines: Sequence[Sequence[str]], num_above: int
) -> Iterator[tuple[str, Sequence[str]]]:
    """Each line behind what is new of its first ``num_above`` cells, such as ``labelled 1 %; images 10``; empty where
    nothing is. A blank cell is as in the line above."""
    above = [""] * num_above
    for line in lines:
        shared = [cell or former for cell, former in zip(line[:num_above], above, strict=True)]
        changed = [column for column in range(num_above) if shared[column] != above[column]]
        new = range(changed[0], num_above) if changed else ()
        yield "; ".join(f"{header[column]} {shared[column]}" for column in new), line
        above = shared
