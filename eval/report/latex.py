"""A table for LaTeX with the package booktabs: what a paper takes in as it is."""

import re
from collections.abc import Sequence

from eval.report.terminal import headed

_SIGNS = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"$\sim$",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
}
_SIGNS |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
_WIDE = 2  # columns, beyond which print is small
_SHORT = 50  # letters that a line takes whatever its width
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")


def escaped(text: str) -> str:
    """The text as LaTeX shows it; a minus before a number is one, not a hyphen."""
    words = _MINUS.sub("\N{MINUS SIGN}", text)
    return "".join(_SIGNS.get(sign, sign) for sign in words).replace("\N{MINUS SIGN}", "$-$")


def label_of(*names: str) -> str:
    r"""What ``\ref`` calls a table of these names."""
    return "tab:" + "-".join(re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in names)


def latex_table(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    caption: str,
    title: str,
    note: str,
    label: str,
) -> str:
    """A floating table: ``caption`` is the short one of a list of tables, ``title`` stands above and ``note`` in small
    print below; from three columns on the table is in small print too. What comes before the starts goes into lines of
    its own above those that share it, so that it fits a page of one column (345 pt), and without p-values a column of
    two (252 pt)."""
    num_above = header.index("start") if "start" in header else 0
    width = len(header) - num_above
    rows: list[str] = []
    for heading, line in headed(header, lines, num_above):
        if heading:
            column = "l" if len(heading) <= _SHORT else r"p{\linewidth}"  # which breaks lines
            rows.append(rf"\multicolumn{{{width}}}{{@{{}}{column}@{{}}}}{{\emph{{{escaped(heading)}}}}} \\")
        rows.append(_row(line[num_above:]))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            *([r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if width > _WIDE else []),
            rf"\caption[{escaped(caption)}]{{{escaped(title)}.}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}{'l' * width}@{{}}}}",
            r"\toprule",
            _row(header[num_above:]),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip",
            rf"\parbox{{\linewidth}}{{\footnotesize {escaped(note)}}}",
            r"\end{table}",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    # nothing, as a bracket at the start would be taken for an option of what stands above
    return f"{{}}{' & '.join(map(escaped, cells))} \\\\"
