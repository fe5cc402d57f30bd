"""Images that a list names in several rows: once if the rows agree, refused if they differ, or with united labels."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from shards.format.blank import UNKNOWN
from shards.sources.record import Record, Rejected
from shards.sources.release import Note

_STRONGEST = (1, -1, 0, UNKNOWN)  # of what several rows say of a label
_UNITE = "; --rows union takes a finding as present where any row says so"


def once_each(
    records: Iterable[Record], *, unite: bool = False, can_unite: bool = False
) -> tuple[list[Record], list[Rejected], list[Note]]:
    """One record for each image, a rejection for each whose records differ, for none of them is known to be the right
    one, and notes of what was repeated.

    Args:
        unite: take their labels together; all else has to be equal.
        can_unite: the user may ask for that, and is told.
    """
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record.name, []).append(record)
    kept: list[Record] = []
    rejected: list[Rejected] = []
    num_equal = num_united = 0
    for several in by_name.values():
        is_united = False
        if unite and len(several) > 1:
            labels = united([record.labels for record in several])
            is_united = any(record.labels != labels for record in several)
            several = [replace(record, labels=labels) for record in several]
        what = next(filter(None, (difference(several[0], other) for other in several[1:])), None)
        if what is None:
            kept.append(several[0])
            num_united += is_united
            num_equal += 0 if is_united else len(several) - 1
        else:
            hint = _UNITE if can_unite and not unite else ""
            message = f"listed in {len(several)} rows with different values ({what}){hint}"
            rejected.append(Rejected(source_path=several[0].source_path, reason="duplicate", message=message))
    notes = [Note(f"{num_equal:,} rows repeat another word for word and were left out")] if num_equal else []
    if num_united:
        notes.append(Note(f"{num_united:,} images have several rows, whose findings were united"))
    return kept, rejected, notes


def united(several: Sequence[Mapping[str, int]]) -> Mapping[str, int]:
    """Labels of which any row says so: present before uncertain before absent before blank."""
    if all(one == several[0] for one in several):
        return several[0]
    names = dict.fromkeys(name for one in several for name in one)
    return {name: min((one[name] for one in several if name in one), key=_STRONGEST.index) for name in names}


def difference(first: Record, other: Record) -> str | None:
    """What two records of one image say differently, in words, if they do."""
    for name in (field.name for field in fields(Record)):
        one, two = getattr(first, name), getattr(other, name)
        if one == two:
            continue
        if name == "labels":
            label = next(label for label in {**one, **two} if one.get(label) != two.get(label))
            return f"{label} is {_said(one.get(label))} and {_said(two.get(label))}"
        return f"{name} is {_said(one)} and {_said(two)}"
    return None


def _said(value: object) -> str:
    return "blank" if value is None else textwrap.shorten(str(value), 60, placeholder="...")
