"""Labels, from the words and lists that tables hold for them: ``yes``, ``0.0``, ``Edema|Effusion``, ``['a', 'b']``."""

import re
from collections.abc import Collection, Mapping

VALUES: Mapping[str, int] = {
    "1": 1, "1.0": 1, "1,0": 1, "true": 1, "t": 1, "yes": 1, "y": 1, "positive": 1, "pos": 1, "present": 1,
    "0": 0, "0.0": 0, "0,0": 0, "false": 0, "f": 0, "no": 0, "n": 0, "negative": 0, "neg": 0, "absent": 0,
    "-1": -1, "-1.0": -1, "-1,0": -1, "uncertain": -1, "maybe": -1,
}  # fmt: skip
NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null", "nat", "<na>"})
_BRACKETS = ("[]", "()", "{}")
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")


def is_blank(cell: str) -> bool:
    """Whether a cell says nothing: it is empty, or holds what programs write for that."""
    return cell.strip().lower() in NOTHING


def value_words(positive: Collection[str], negative: Collection[str]) -> dict[str, int]:
    """What each word of a label's column means, in lower case: :data:`VALUES` and a user's own words."""
    own = {word.strip().lower(): value for value, words in ((1, positive), (0, negative)) for word in words}
    return {**VALUES, **own}


def listed_findings(cell: str, *, separator: str, negative: Collection[str] = ()) -> list[str] | None:
    """The findings that a cell lists, in its order; None where it is blank.

    A Python or JSON list is read as one, whatever the separator; ``[]`` lists nothing, and says so, which ``['']`` and
    ``[nan]`` do not. A word of ``negative`` (in lower case), such as ``no finding``, is no finding.
    """
    cell = cell.strip()
    if is_blank(cell):
        return None
    if cell[0] + cell[-1] in _BRACKETS:
        inner = cell[1:-1].strip()
        if not inner:
            return []
        quoted = [one or other for one, other in _QUOTED.findall(inner)]
        words = quoted or inner.split(separator if separator in inner else ",")
    else:
        words = cell.split(separator)
    bare = [word.strip().strip("'\"").strip() for word in words]
    if all(map(is_blank, bare)):
        return None
    return [word for word in bare if not is_blank(word) and word.lower() not in negative]
