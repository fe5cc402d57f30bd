"""What a blank label means: nobody looked (unknown), or it would have been mentioned (absent; CheXpert's rule).

The rule of each label stands in ``dataset.json`` under ``blanks``. A dataset without it was packed when every blank
counted as absent, and keeps that.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Blank = Literal["unknown", "absent"]
UNKNOWN = -2
"""Stored for a label of an image of which a list says nothing at all, where blanks in that list are absent."""
_FORMER: Blank = "absent"
_TOLD: set[Path] = set()


def blank_rules(about: Mapping[str, Any]) -> dict[str, Blank]:
    """The rule of each label, of what a packed dataset's ``dataset.json`` holds."""
    told = about.get("blanks", {})
    return {label: told.get(label, _FORMER) for label in about["labels"]}


def tell_former_rule(folder: Path) -> None:
    """Says, once for each dataset without a rule, that its blanks are taken as absent, and how to change that."""
    if folder not in _TOLD:
        _TOLD.add(folder)
        print(
            f"note: {folder} was packed when every blank label counted as absent, and keeps that; where a blank means "
            "that nobody looked, pack it again with --blank unknown",
            file=sys.stderr,
        )
