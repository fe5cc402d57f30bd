"""View and projection, from the words of public releases and of hospitals' own lists and DICOM headers.

CheXpert and MIMIC have ``AP``, ``LL``, ``AP AXIAL``; PadChest ``L``, ``AP_horizontal``, ``POSTEROANTERIOR``; the COVID
lists ``AP Supine``, ``L``; hospitals ``Chest PA``, ``LLAT``, ``Thorax seitlich``.
"""

import re
from functools import lru_cache

from shards.sources.words.label import is_blank

_FRONTAL = re.compile(r"AP|PA|FRONT(AL)?|FACE")
_LATERAL = re.compile(r"[LR]L|[LR]LD|[LR]?LAT|LAT[LR]|(LEFT|RIGHT)?LATERAL|LATERALE|PROFILE?|PERFIL|SEITLICH")
# A patient who lies on the side is still seen from the front.
_LYING = frozenset({"DECUBITUS", "DECUB", "LLD", "RLD"})
_JOINED = ((r"\bANTERO[\W_]*POSTERIOR\b", "AP"), (r"\bPOSTERO[\W_]*ANTERIOR\b", "PA"))
_SPELT = ((r"\bA[./-]\s?P\b\.?", "AP"), (r"\bP[./-]\s?A\b\.?", "PA"), (r"\bLAT\.", "LAT"))

# What projections and postures are called, in codes and in words: of these alone a name cannot be made.
_CODE = (
    "AP|PA|LL|RL|LLD|RLD|LAO|RAO|LPO|RPO|LLO|RLO|L|R|LAT|LLAT|RLAT|LEFT|RIGHT|LATERAL|FRONTAL|ANTEROPOSTERIOR|"
    "POSTEROANTERIOR|AXIAL|OBLIQUE|LORDOTIC|APICAL|COSTAL|DECUBITUS|DECUB|SUPINE|PRONE|ERECT|UPRIGHT|STANDING|SITTING|"
    "SEMI|PORTABLE|BEDSIDE|HORIZONTAL|XTABLE|CROSS|TABLE|SWIMMERS|EXPIRATION|INSPIRATION|CHEST|THORAX|PEDIATRIC"
)
_CODES = re.compile(rf"({_CODE})([ _/.,-]+({_CODE}))*")


@lru_cache(4096)  # few words occur in the hundred thousands of rows of a list
def parse_view(text: str) -> tuple[str | None, str | None]:
    """View (``frontal``, ``lateral``) and projection (``AP``, ``PA``, ``LL`` ...) from either; None where not said.

    The projection is the release's own word, or AP or PA alone where that stands inside other words (``Chest PA``).
    """
    word = " ".join(text.strip().upper().split())
    if is_blank(word):
        return None, None
    plain = word
    for pattern, known in (*_JOINED, *_SPELT):
        plain = re.sub(pattern, known, plain)
    tokens = set(re.findall(r"[^\W\d_]+", plain))
    is_frontal, is_lateral = (any(map(words.fullmatch, tokens)) for words in (_FRONTAL, _LATERAL))
    is_lateral |= tokens == {"L"}
    if is_frontal and is_lateral and not tokens & _LYING:
        return None, word  # "PA and lateral" is of two images; which one this is, is not said
    view = "frontal" if is_frontal else "lateral" if is_lateral else None
    if word in ("FRONTAL", "LATERAL"):
        return view, None
    sides = tokens & {"AP", "PA"}
    return view, sides.pop() if len(sides) == 1 and not word.startswith(("AP", "PA")) else word


def known_projection(projection: str | None) -> str | None:
    """A projection made of known codes and words alone; of what holds others, AP or PA if that is said; else None, for
    anything can stand in such a column."""
    word = (projection or "").upper()
    if _CODES.fullmatch(word):
        return projection
    sides = set(re.findall(r"[^\W\d_]+", word)) & {"AP", "PA"}
    return sides.pop() if len(sides) == 1 else None
