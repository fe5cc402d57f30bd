"""The indication of a radiology report: the question that was asked, known before the image was read.

Reports are written by many hands: headings in any case, with or without a colon, run on in one line or alone on theirs,
in the manner of MIMIC-CXR (``FINAL REPORT``, ``WET READ``, ``___`` for what was de-identified). What the radiologist
saw is the answer that a classifier is to give, so in doubt text is lost rather than taken: a section ends at any
heading, at FINDINGS and IMPRESSION however they are set, at a blank line, and at a sentence that reads like findings.

Expect about 2,000 reports a second on one core.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

_WHOSE = r"(?:CLINICAL|PATIENT(?:'?S)?|PERTINENT|RELEVANT|BRIEF|PAST|MEDICAL|STUDY|EXAM)"
# In order of preference: the reason of this very image, the clinical picture, the patient's past.
_ASKED = (
    rf"(?:{_WHOSE}\s+)*INDICATIONS?(?:\s+FOR\s+(?:THE\s+|THIS\s+)?[A-Z-]+)?",
    r"REASON(?:S?\s+FOR\s+(?:THE\s+|THIS\s+)?[A-Z-]+)?",
    r"CLINICAL\s+(?:INFORMATION|DATA|DETAILS|STATEMENT|QUESTION|CONCERN|CONTEXT|BACKGROUND|PRESENTATION|INFO)"
    r"|CLINICAL\s+(?:HISTORY|HX)",
    rf"(?:{_WHOSE}\s+)*(?:HISTORY|HX)(?:\s+OF\s+PRESENT(?:ING)?\s+ILLNESS)?|UNDERLYING\s+MEDICAL\s+CONDITION",
)
_ANSWERED = (
    r"(?:FINDINGS?|IMPRESSIONS?|CONCLUSIONS?|WET\s+READ(?:ING)?|PRELIMINARY\s+(?:READ(?:ING)?|REPORT)"
    r"|FINAL\s+(?:READ(?:ING)?|REPORT)|INTERPRETATION|ADDEND(?:UM|A))"
)
_BESIDE = (
    r"(?:TYPE\s+OF\s+)?EXAM(?:INATION)?S?(?:\s+(?:TYPE|DATE))?|STUDY|PROCEDURE|TECHNIQUES?|COMPARISONS?(?:\s+STUDY)?|VIEWS?"
    r"|CHEST(?:\s+(?:RADIOGRAPHS?|X-?RAYS?|FILMS?))?|RECOMMENDATIONS?(?:\(S\))?|NOTIFICATIONS?|REPORT|SUMMARY|OPINION"
    r"|READ(?:ING)?|PFI|RESULTS?|DATE|TIME|ADMITTING\s+DIAGNOSIS"
)
_ASKS = "|".join(_ASKED)
_AND = r"\s*(?:/|,|&|\+|\bAND\b|\bOR\b)\s*"
_KNOWN = rf"(?:{_ASKS}|{_ANSWERED}|{_BESIDE})"
_KNOWN_NAME = re.compile(rf"{_KNOWN}(?:{_AND}{_KNOWN})*", re.IGNORECASE)
_ASKED_NAMES = tuple(re.compile(rf"\b(?:{names})(?![A-Z])", re.IGNORECASE) for names in _ASKED)
_ANSWERED_NAME = re.compile(rf"\b{_ANSWERED}\b", re.IGNORECASE)

# What follows a name: brackets, then the colon, or a dash that stands free on its right.
_SIGN = r"\s*(?:\([^()\n]{0,40}\)\s*)?(?::+|[-–—=]+(?=\s|$))"  # noqa: RUF001
_LINE = re.compile(rf"^[ \t*#.•\d)]*(?P<name>[A-Za-z][\w /,.()&'+-]{{1,70}}?){_SIGN}", re.MULTILINE)
_TITLE = re.compile(rf"(?<=[.?!]\s)[ \t]*(?P<name>[A-Z][A-Z0-9 /,()&_-]{{3,60}}){_SIGN}")
_INNER = re.compile(rf"(?<![\w/-])(?P<name>(?i:{_KNOWN})(?i:{_AND}{_KNOWN})*){_SIGN}")
_ALONE = re.compile(rf"^[ \t*#]*(?P<name>(?i:{_KNOWN})(?i:{_AND}{_KNOWN})*)[ \t.*]*$", re.MULTILINE)
_BARE = re.compile(
    rf"^[ \t]*(?P<name>(?:{_ASKS}|{_ANSWERED}|COMPARISONS?|TECHNIQUES?|EXAMINATION)(?:{_AND}{_KNOWN})*)"
    r"(?![\w'-]|\s+(?:OF|FROM|WITH)\b)",
    re.MULTILINE,
)
_ANSWER = re.compile(rf"(?P<name>\b{_ANSWERED}\b|(?:(?<=[.?!;:])\s*|^[ \t]*)(?=[A-Z])(?i:{_ANSWERED})\b)", re.MULTILINE)
# A story in capitals that runs on into a heading, of which this is a part and not the name.
_RUN_ON = re.compile(rf"(?:[^\s/]+\s+){{2,}}(?:{_ASKS}|{_ANSWERED}|COMPARISONS?|TECHNIQUES?)$")
_WORDS: tuple[str, ...] = (
    "FINDINGS",
    "FINDING",
    "IMPRESSION",
    "IMPRESSIONS",
    "CONCLUSION",
    "INDICATION",
    "INDICATIONS",
    "HISTORY",
)
_WORDS += ("CLINICAL", "REASON", "EXAMINATION", "COMPARISON", "TECHNIQUE", "INFORMATION")
# Uppercase with a colon, and yet part of the story.
_STORY = {
    "PMH",
    "PMHX",
    "PSH",
    "HPI",
    "CC",
    "DX",
    "SX",
    "PX",
    "H/O",
    "R/O",
    "S/P",
    "RO",
    "NOTE",
    "VS",
    "HR",
    "BP",
    "HX",
}

# How readings begin that have no heading: what was done, what it is compared with, what is or is not there.
_READING = re.compile(
    r"""(?:\A|(?<=[.?!;:\n]))\s*(?:
      (?:PA|AP|Portable|PORTABLE|Frontal|Lateral|Single|One|Two|Three|Upright|Supine|Semi-?\s?(?:upright|erect)|Bedside
        |Chest)\b[^.\n]{0,60}\b(?:views?|films?|radiograph(?:s|y)?|images?|projections?|x-?rays?
        |VIEWS?|FILMS?|RADIOGRAPHS?)\b
    | (?:As\s+compared|In\s+comparison|Compared\s+(?:to|with)|Comparison\s+(?:is|to|with))\b
    | There\s+(?:is|are|has|have|continues?|remains?)\b
        (?!\s+(?:an?\s+)?(?:clinical\s+)?(?:concern|suspici|question|histor))
    | (?:[Tt]he\s+|Both\s+|Bilateral\s+)?(?:[Ll]ungs|[Ll]ung\s+(?:fields|volumes|bases)|[Hh]eart\s+(?:size|is)
        |[Cc]ardiac\s+(?:silhouette|size|and)|[Cc]ardio-?mediastinal|[Mm]ediastin(?:al|um)\s|[Hh]il(?:ar|a)\s|[Oo]sseous
        |[Bb]ony\s|[Pp]ulmonary\s+vascula|[Cc]ostophrenic)
    | (?:No|no|NO)\s+(?:(?:new\s+)?pneumothorax|pleural|focal|evidence|radiographic|significant|consolidation|change
        |acute\s+(?:cardio|intrathor|pulm|chest|process|disease|abnorm|findings?))
    | Low\s+lung\s+volumes | Normal\s+(?:heart|chest|lungs|cardi|PA|AP)
    | (?:Unchanged|Stable)\s+(?:appear|cardi|position|bilat)
    | (?:CHEST\s*[,(]|PORTABLE\b|(?:AP|PA|FRONTAL|SINGLE|TWO)\b)[A-Z\d ,()/&-]*$
    | [A-Z][^.\n]{0,80}\bterminat(?:es|ing)\b
    )""",
    re.VERBOSE | re.MULTILINE,
)
# The same without a heading, a line or a full stop before it: a capital inside a sentence, and places of the chest.
_PLACES = (
    r"(?:[Hh]eart|[Ll]ungs?|[Cc]ardiac|[Cc]ardio[-\s]?mediastin\w*|[Mm]ediastin\w*|[Tt]rachea|[Pp]ulmonary|[Tt]horacic|[Aa]ort\w+"
    r"|[Hh]il(?:ar|um|a)|[Hh]emi-?diaphragms?|[Dd]iaphragms?|[Bb]ony|[Oo]sseous|[Vv]asculature|[Pp]leural?|[Aa]irspaces?"
    r"|[Ss]ilhouette|[Ii]nterstitial|[Cc]ostophrenic|[Ss]pine|[Rr]ibs?|[Oo]pacit\w+|[Aa]telectasis|[Ii]nfiltrates?)"
)
_RUN_ON_READING = re.compile(
    rf"""
      (?<![\w-])(?:
        (?:The|Both|Bilateral|Visuali[sz]ed|Stable|Unchanged|Normal|Clear|Lungs?)\s+(?:[\w-]+\s+){{0,2}}(?:{_PLACES}|volumes)\b
      | (?:Heart|Lungs|Cardiac|Cardio[-\s]?mediastinal|Mediastinum|Trachea|Pulmonary\s+vascul\w+)\s+(?:[\w-]+\s+){{0,4}}
        (?:is|are|size|silhouettes?|contours?|within|normal|clear|appears?|unremarkable|unchanged|stable)\b
      | (?:No|Negative\s+for)\s+(?:[\w-]+\s+){{0,2}}
        (?:pneumothora\w+|consolidations?|effusions?|infiltrates?|opacit\w+)\b
      | (?:Stable|Mild|Moderate|Severe|Borderline)\s+(?:mild\s+|moderate\s+)?cardiomegaly\b
      | (?:There|This\s+examination)\s+(?:is|are|has|have)\b
        (?!\s+(?:an?\s+)?(?:clinical\s+)?(?:concern|suspici|question|hist))
      )
    | (?:(?<=[.?!;:\n])|(?<=[.?!;:]\s))(?=[A-Z])(?:[\w-]+,?\s+){{0,4}}{_PLACES}\b[^.\n]{{0,80}}\b
      (?:is|are|was|were|has|have|within|appears?|unremarkable|unchanged|clear|noted|seen|present|demonstrated?)\b
    """,
    re.VERBOSE | re.MULTILINE,
)
_PAGE = re.compile(
    r"^[ \t]*(?:\(?(?:over|cont(?:inued|'d|d)?\.?)\)?|page[ \t]+\d+(?:[ \t]+of[ \t]+\d+)?)[ \t]*\n", re.I | re.M
)
_RULE = re.compile(r"^[ \t]*[_=*-]{8,}[ \t]*$", re.MULTILINE)
_UNDERLINE = re.compile(r"^([ \t]*[A-Za-z][A-Za-z /&]{2,40}:?)[ \t]*\n[ \t]*[-=]{3,}[ \t]*$", re.MULTILINE)
_REMOVED = re.compile(r"\[\*\*.*?\*\*\]|_{2,}", re.DOTALL)  # as MIMIC-III and MIMIC-CXR write it
_BREAK = re.compile(r"\n[ \t]*\n\s*(?![a-z?\s]|//)")  # a paragraph that does not begin in mid-sentence
_APART = re.compile(r"[^\w\n]*\n[ \t]*\n")
_EDGE = " \t-–—:;,/|*#=~"  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class _Section:
    """``rank`` is the place in ``_ASKED``, None for any other section; ``follower`` the next heading, if any."""

    rank: int | None
    text: str
    follower: str


def decode_report(data: bytes) -> str:
    """A report's text, whether it was written as UTF-8, Windows-1252 or Latin-1."""
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def find_indication(report: str) -> str | None:
    """The text of a report's indication in one line; None where there is none, or nothing but blanks and underscores.

    INDICATION and REASON FOR EXAM, with their relatives, come first; where they are missing or empty, CLINICAL
    INFORMATION or CLINICAL HISTORY; then HISTORY. So of a report with INDICATION and HISTORY the indication is taken
    and the history left. Of two sections of one kind, as addenda have them, the first that is not empty counts.

    What was de-identified, a run of underscores, becomes the one sign ``___``. Text of FINDINGS, IMPRESSION, a wet read
    or an addendum is never returned; where a report is set so that it cannot be told apart, the text ends early.
    """
    found: dict[int, str] = {}
    for section in _sections(_plain(report)):
        if section.rank is not None and section.rank not in found:
            text = None if _may_be_answer(section) else _clean(section.text)
            if text is not None:
                found[section.rank] = text
    return found[min(found)] if found else None


def _plain(report: str) -> str:
    """Lines ended by newlines alone, without page furniture, each rule a paragraph's end."""
    text = re.sub(r"\r\n?", "\n", report.lstrip("\ufeff"))
    text = re.sub(r"\n?\f\n?", "\n", text).replace("\v", "\n").replace("\xa0", " ").replace("\x00", "")
    text = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", re.sub(r"[ \t]+", " ", text))
    text = _PAGE.sub("", text)
    text = _UNDERLINE.sub(r"\1", text)
    return _RULE.sub("\n\nFINAL REPORT\n\n", text)  # what follows a rule is another block


def _sections(text: str) -> Iterator[_Section]:
    ways = (_LINE, _ALONE, _BARE, _INNER, _ANSWER, _TITLE)
    matches = [(match.start(), order, match) for order, way in enumerate(ways) for match in way.finditer(text)]
    rank: int | None = None
    begin = 0
    for start, order, match in sorted(matches, key=lambda found: found[:2]):
        if start >= begin and _is_heading(match["name"], ways[order], rank=rank, before=text[begin:start]):
            yield _Section(rank=rank, text=text[begin:start], follower=_bare_name(match["name"]))
            rank, begin = _rank(_bare_name(match["name"])), match.end()
    yield _Section(rank=rank, text=text[begin:], follower="")


def _is_heading(found: str, way: re.Pattern[str], *, rank: int | None, before: str) -> bool:
    """Whether a name found in one way begins a section, and is no part of the text ``before`` it in one of ``rank``."""
    name = _bare_name(found)
    begun = any(map(str.isalnum, before))
    if name.upper() in _STORY and rank is not None and begun:
        return False
    if way is _LINE:
        is_run_on = begun and rank is not None and _RUN_ON.match(name) is not None
        return (name.isupper() and not is_run_on and not re.search(r"[.?!]\s", found)) or _is_known(name)
    if way is _TITLE:
        return begun
    if way in (_INNER, _ALONE) and not (name[0].isupper() or _ANSWERED_NAME.search(name)):
        return False  # in mid-sentence a lower-case word is no heading, unless an answer may follow it
    if way is _INNER and begun and rank is not None and not name.isupper():
        known = _rank(name)
        return known is None or known < rank  # "INDICATION: cough. History: asthma." is one story
    return True


def _bare_name(found: str) -> str:
    return re.sub(r"\([^()]*\)", " ", found).strip(" \t\n*#.•:=-–—")  # noqa: RUF001


@cache
def _rank(name: str) -> int | None:
    """The place in ``_ASKED`` of a heading; None for other headings, and for those that promise an answer as well."""
    mended = _mended(name)
    if _ANSWERED_NAME.search(mended):
        return None
    return next((rank for rank, names in enumerate(_ASKED_NAMES) if names.search(mended)), None)


@cache
def _is_known(name: str) -> bool:
    return _KNOWN_NAME.fullmatch(_mended(name)) is not None


def _mended(name: str) -> str:
    """Upper case, misspelt words put right: the cutoff tells INDCATION from MEDICATION."""
    words = []
    for word in re.split(r"(\W+)", name.upper()):
        near = get_close_matches(word, _WORDS, n=1, cutoff=0.84) if len(word) > 5 else []
        words.append(near[0] if near else word)
    return "".join(words)


def _may_be_answer(section: _Section) -> bool:
    """Whether a paragraph of its own below the heading may be a reading without heading: no FINDINGS, and nothing else
    that comes before them, stands between it and the impression or the end."""
    is_apart = _APART.match(section.text) is not None
    follower = _mended(section.follower)
    return is_apart and (not follower or (_ANSWERED_NAME.search(follower) is not None and "FINDING" not in follower))


def _clean(text: str) -> str | None:
    """The first paragraph of a section in one line, up to where a reading begins."""
    is_below = not text.split("\n", 1)[0].strip(_EDGE)
    text = text.lstrip(_EDGE + "\n.") if not is_below else text.strip()
    text = _BREAK.split(text, maxsplit=1)[0]
    readings = (
        next((found for found in way.finditer(text) if found.start() > 0 or is_below), None)
        for way in (_READING, _RUN_ON_READING)
    )
    text = text[: min((found.start() for found in readings if found), default=len(text))]
    text = " ".join(_REMOVED.sub("___", text).split()).strip(_EDGE)
    return text if any(map(str.isalnum, text)) else None
