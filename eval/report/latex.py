"""A table for LaTeX with the package booktabs: what a paper takes in as it is."""

import re
from collections.abc import Sequence

_SIGNS = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"$\sim$",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
}
_SIGNS |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
_WIDE = 4  # columns, beyond which print is small
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
    print below. Of five columns and more the table is in small print too."""
    # nothing, as a bracket at the start would be taken for an option of what stands above
    first, *rows = [f"{{}}{' & '.join(map(escaped, row))} \\\\" for row in (header, *lines)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            *([r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] if len(header) > _WIDE else []),
            rf"\caption[{escaped(caption)}]{{{escaped(title)}.}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}{'l' * len(header)}@{{}}}}",
            r"\toprule",
            first,
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
