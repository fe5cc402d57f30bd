"""Sex, age and view, from the words that releases use for them.

A split for releases that come without one: 65 / 15 / 20 % train / valid / test, as in the MoCo-CXR protocol.
"""

import re

import numpy as np

from shards.base.randomness import generator

_AGE = re.compile(r"0*(\d+(?:\.\d+)?)\s*([ymwd]?)[a-z]*\.?", re.IGNORECASE)
_YEARS = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_OLDEST_YEARS = 120  # ChestX-ray14 lists ages up to 414
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_LATERAL = re.compile(r"LL|RL|LLD|RLD|LAT(ERAL)?|.*\bLATERAL\b.*|LEFT LATERAL|RIGHT LATERAL", re.IGNORECASE)
_FRONTAL = re.compile(r"(AP|PA)\b.*|FRONTAL|ANTERO-?POSTERIOR|POSTERO-?ANTERIOR", re.IGNORECASE)


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


def parse_view(text: str) -> tuple[str | None, str | None]:
    """View (``frontal``, ``lateral``) and projection (``AP``, ``PA``, ``LL`` ...) from either; None where not said."""
    word = " ".join(text.strip().upper().split())
    if not word:
        return None, None
    view = "frontal" if _FRONTAL.fullmatch(word) else "lateral" if _LATERAL.fullmatch(word) else None
    return view, None if word in ("FRONTAL", "LATERAL") else word


def draw_splits(num_images: int, *, release: str, label: int) -> list[str]:
    """The split of each of a class's images, drawn once for all by the release's name and the class."""
    names = np.full(num_images, "train", dtype=object)
    order = generator(f"{release} split", label).permutation(num_images)
    num_test, num_valid = round(0.20 * num_images), round(0.15 * num_images)
    names[order[:num_test]] = "test"
    names[order[num_test : num_test + num_valid]] = "valid"
    return list(names)
