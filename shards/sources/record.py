"""What a source yields: one record an image, or a rejection with its reason."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from shards.base.errors import InputError
from shards.format.boxes import Box

_KEY = re.compile(r"[A-Za-z0-9_-]{1,95}")
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One image of a release, with what the release says of it.

    ``labels`` are in the source's own words: 1 present, 0 absent, -1 uncertain; a label left out is blank, and what
    that means is the source's rule; where the rule is absent, :data:`shards.format.blank.UNKNOWN` is a label of an
    image that no list speaks of.
    ``split`` is ``train``, ``valid`` or ``test``. ``name`` is the file's name among the input's files
    (:class:`shards.sources.files.SourceFiles`), ``source_path`` how the release calls it (relative to its root).
    ``boxes`` are what readers drew, None where nobody looked for any, in pixels of the upright picture, or of one of
    ``box_frame`` (width, height) pixels where the release gives them so whatever size this copy has. ``kept`` are
    columns of the release's list that the user asked for.
    Where nothing is known of patients, ``patient_id`` is the image's own and ``is_patient_known`` false. ``key`` names
    the sample in its shard: letters, digits, ``_`` and ``-`` only, under 96 of them, because DALI's
    reader splits names at the first dot and USTAR names end at 100 bytes.
    """

    key: str
    name: str
    source_path: str
    split: str
    patient_id: str
    study_id: str
    view: str | None = None
    projection: str | None = None
    sex: str | None = None
    age: float | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    indication: str | None = None
    findings: str | None = None
    is_patient_known: bool = True
    boxes: tuple[Box, ...] | None = None
    box_frame: tuple[int, int] | None = None
    kept: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise InputError(
                f"key {self.key!r} of {self.source_path}: keys hold 1 to 95 letters, digits, '_' "
                "and '-'; make them with shards.sources.record.make_key"
            )
        if self.split not in ("train", "valid", "test"):
            raise InputError(f"split {self.split!r} of {self.source_path}: must be train, valid or test")
        for name in ("source_path", "patient_id", "study_id"):
            object.__setattr__(self, name, printable(getattr(self, name)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A source file that was not packed: ``reason`` is one of a few classes, ``message`` says what was found."""

    source_path: str
    reason: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_path", printable(self.source_path))
        object.__setattr__(self, "message", printable(self.message))


def make_key(*parts: str) -> str:
    """Joins parts into a shard key: every character that keys must not hold becomes ``_``; what is too long is cut and
    ends in a hash of the whole.

    Different parts can give the same key; the build tells such keys apart by a hash of the source path.
    """
    key = re.sub(r"[^A-Za-z0-9-]+", "_", "_".join(parts)).strip("_") or "image"
    return key if len(key) <= 80 else f"{key[:71]}-{short_hash(key)}"


def short_hash(text: str) -> str:
    """Eight hexadecimal digits of the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


def printable(text: str) -> str:
    """``text`` as any file can hold it and on one line: bytes of a file name that are no UTF-8 are shown as
    ``\\udcXX``, and signs by which a terminal is steered as ``\\n``, ``\\x1b`` and the like."""
    if text.isascii() and text.isprintable():
        return text
    plain = text.encode("utf-8", errors="backslashreplace").decode("utf-8")
    return _STEERING.sub(lambda sign: repr(sign[0])[1:-1], plain)
