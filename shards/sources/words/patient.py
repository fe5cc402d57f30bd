"""Sex and age, from the words that releases use for them."""

import re

_AGE = re.compile(r"0*(\d+(?:\.\d+)?)\s*([ymwd]?)[a-z]*\.?", re.IGNORECASE)
_YEARS = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_OLDEST_YEARS = 120  # ChestX-ray14 lists ages up to 414
_SEXES = {"m": "M", "male": "M", "man": "M", "m\u00e4nnlich": "M"}
_SEXES |= {"f": "F", "female": "F", "woman": "F", "w": "F", "weiblich": "F"}


def parse_sex(text: str) -> str | None:
    """``M``, ``F``, or None for anything else."""
    return _SEXES.get(text.strip().lower())


def parse_age(text: str) -> float | None:
    """Years from ``58``, ``058Y``, ``010M``, ``003W`` or ``004D``; None for what is no age of a person."""
    match = _AGE.fullmatch(text.strip())
    if not match:
        return None
    years = float(match[1]) * _YEARS[match[2].lower()]
    return years if years <= _OLDEST_YEARS else None
