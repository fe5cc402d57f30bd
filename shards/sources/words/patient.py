"""Identifier, sex and age of a patient, from the words that releases and hospitals use for them."""

import re
from functools import lru_cache

from shards.sources.words.label import is_blank

_AGE = re.compile(r"0*(\d+(?:\.\d+)?)\s*([ymwd]?)[a-z]*\.?", re.IGNORECASE)
_YEARS = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_OLDEST_YEARS = 120  # ChestX-ray14 lists ages up to 414
_SEXES = {
    **dict.fromkeys(("m", "male", "man", "männlich", "homme", "hombre"), "M"),
    **dict.fromkeys(("f", "female", "woman", "w", "weiblich", "femme", "mujer"), "F"),
}
_NOBODY = re.compile(r"[-?.]+|unknown|anonym(ous|ized|ised)?|anon|de-?identified|unbekannt", re.IGNORECASE)
_WHOLE = re.compile(r"(\d+)\.0+")


def parse_patient(text: str) -> str:
    """A patient's identifier; empty for what programs and hospitals write where there is none, which would make one
    patient of many. Of ``123.0``, as spreadsheets and pandas write the number 123, ``123``."""
    text = text.strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else "" if is_blank(text) or _NOBODY.fullmatch(text) else text


@lru_cache(4096)
def parse_sex(text: str) -> str | None:
    """``M``, ``F``, or None for anything else."""
    return _SEXES.get(text.strip().lower())


@lru_cache(4096)
def parse_age(text: str) -> float | None:
    """Years from ``58``, ``058Y``, ``010M``, ``003W`` or ``004D``; None for what is no age of a person."""
    match = _AGE.fullmatch(text.strip().replace(",", "."))
    if not match:
        return None
    years = float(match[1]) * _YEARS[match[2].lower()]
    return years if years <= _OLDEST_YEARS else None
