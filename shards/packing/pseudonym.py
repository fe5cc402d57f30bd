"""Pseudonyms: keyed hashes (HMAC-SHA256) in the place of patient, study and path identifiers.

With one key file, a patient bears one pseudonym in every dataset; without the key file, pseudonyms can be neither
reversed nor confirmed by trying names. Whoever holds it can do the latter: keep it apart from the datasets.

Nothing that was read in the input is stored or told beside them but pixels and what can hold no name: splits, known
codes of view and projection, sex, age up to 90, labels, and names of labels that several patients have.
"""

import contextlib
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import xxhash

from shards.base.errors import InputError
from shards.base.stored import read_file
from shards.format.boxes import Box
from shards.sources.record import Record, Rejected
from shards.sources.release import Note, Release
from shards.sources.words.view import known_projection

MIN_KEY_BYTES = 16
_MOST_KEY_BYTES = 1_000_000
WITHHELD = "message withheld, because it may name the patient; build without --pseudonymise to read it"
_UNTOLD = (
    "--input: cannot be packed; the reason is withheld, because it may name a patient; to read it, repeat the command "
    "with --dry-run and without --pseudonymise, which writes nothing"
)
_UNTOLD_NOTE = Note("a note is withheld, because it may name a patient")
_OLDEST_YEARS = 90.0  # few people are older, so that their age would tell who they are
_FEW = 5  # patients who share something do not stand out by it from here on


@dataclass(frozen=True)
class Pseudonyms:
    """Replaces identifiers under one secret key."""

    secret: bytes

    def __repr__(self) -> str:
        return f"Pseudonyms({self.key_id})"  # the secret must not get into a log

    @property
    def key_id(self) -> str:
        """Eight digits that tell keys apart and reveal nothing of them."""
        return self._hash("key", "")[:8]

    def of(self, kind: Literal["patient", "study", "image", "reader"], identifier: str) -> str:
        """32 hexadecimal digits; a patient and a study of the same name get different ones."""
        return self._hash(kind, identifier)

    def source_hash(self, data: bytes) -> int:
        """Of 64 bits, of a file's bytes: who has the file but not the key cannot find its row by it."""
        key = hmac.new(self.secret, b"moco-cxr file", hashlib.sha256).digest()
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "little")

    def record(self, record: Record, *, keep_text: bool = False) -> Record:
        """The record under pseudonyms. ``name`` stays, which the build reads the image by and does not store; free text
        goes unless ``keep_text``, because reports name people; of projections only known codes stay."""
        image = self.of("image", record.source_path)
        return replace(
            record,
            key=image,
            source_path=image,
            patient_id=self.of("patient", record.patient_id),
            study_id=self.of("study", record.study_id),
            projection=known_projection(record.projection),
            age=None if record.age is None else min(record.age, _OLDEST_YEARS),
            indication=record.indication if keep_text else None,
            findings=record.findings if keep_text else None,
            boxes=None if record.boxes is None else tuple(map(self._box, record.boxes)),
        )

    def _box(self, box: Box) -> Box:
        return box._replace(reader=box.reader and self.of("reader", box.reader)[:8])

    def rejected(self, rejected: Rejected) -> Rejected:
        """The rejection with the pseudonym of its path and without its message, which can hold a name or a path."""
        return Rejected(source_path=self.of("image", rejected.source_path), reason=rejected.reason, message=WITHHELD)

    def release(self, release: Release, *, keep_text: bool = False, keep_labels: Sequence[str] = ()) -> Release:
        """The release under pseudonyms, records and rejections in the order of these, since the release's own order can
        be told from a known seed.

        Args:
            keep_labels: those to keep of the labels whose names were found in the input; default: those of
                :func:`shared_labels`.

        Raises:
            InputError: a label to keep is none of these.
        """
        unknown = sorted(set(keep_labels) - set(release.labels))
        if unknown:
            raise InputError(
                f"--keep-labels {unknown[0]}: the input has no such label",
                bare=f"--keep-labels: {unknown[0]!r} is no label of the input",
            )
        kept = frozenset(keep_labels) or shared_labels(release)
        labels = tuple(label for label in release.labels if label in kept or label not in release.found_labels)
        only = _restricted(labels)
        notes = [note if isinstance(note, Note) else _UNTOLD_NOTE for note in release.notes]
        notes = [Note(note.bare, is_cause=note.is_cause) for note in notes]
        num_left_out = len(release.labels) - len(labels)
        if num_left_out:
            notes.append(
                Note(
                    f"{num_left_out:,} labels were left out, named after folders or words of a list, which can be "
                    f"names of patients: of some there are under {_FEW} patients; --keep-labels names those to keep"
                )
            )
        shared = {name: _shared_values(release, name) for name in release.kept}
        records = (
            replace(
                self.record(record, keep_text=keep_text),
                labels=only(record.labels),
                kept={name: value for name, value in record.kept.items() if value in shared[name]},
            )
            for record in release.records
        )
        return replace(
            release,
            labels=labels,
            found_labels=release.found_labels.intersection(labels),
            records=sorted(records, key=lambda record: record.key),
            rejected=sorted(map(self.rejected, release.rejected), key=lambda refused: refused.source_path),
            notes=notes,
            blanks={label: release.blanks[label] for label in labels},
        )

    def _hash(self, kind: str, identifier: str) -> str:
        message = f"moco-cxr {kind}\0{identifier}".encode(errors="surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:32]


def source_hash(data: bytes) -> int:
    """64 bits of a file's bytes (XXH3, no secret): among a million files, two are alike by chance once in 40 million
    times."""
    return xxhash.xxh3_64_intdigest(data)


def shared_labels(release: Release) -> frozenset[str]:
    """The labels found in the input that several patients have, so that their names are not those of patients. Where
    images name no patient, each may be of the same one: there a single name that few images have speaks against all.
    """
    patients: dict[str, set[str]] = {label: set() for label in release.found_labels}
    is_known = True
    for record in release.records:
        for label, value in record.labels.items():
            if value and label in patients and len(patients[label]) < _FEW:
                patients[label].add(record.patient_id)
                is_known &= record.is_patient_known
    shared = frozenset(label for label, of in patients.items() if len(of) >= _FEW)
    return shared if is_known or shared == release.found_labels else frozenset()


def _shared_values(release: Release, column: str) -> frozenset[str]:
    """The values of a column to keep that several patients have; the others could be names, or tell who somebody is."""
    patients: dict[str, set[str]] = {}
    for record in release.records:
        if column in record.kept and record.is_patient_known:
            patients.setdefault(record.kept[column], set()).add(record.patient_id)
    return frozenset(value for value, of in patients.items() if len(of) >= _FEW)


def _restricted(labels: Sequence[str]) -> Callable[[Mapping[str, int]], Mapping[str, int]]:
    """Leaves out other labels than these; equal sets stay shared, as there are few."""
    kept, found = frozenset(labels), {}

    def only(said: Mapping[str, int]) -> Mapping[str, int]:
        if id(said) not in found:  # kept alive by its record
            found[id(said)] = said if said.keys() <= kept else {name: said[name] for name in said if name in kept}
        return found[id(said)]

    return only


@contextlib.contextmanager
def withholding(pseudonyms: Pseudonyms | None) -> Iterator[None]:
    """Around what reads the input: under pseudonyms, errors say nothing that was read there.

    Raises:
        InputError: with the message of the one that was raised, or without what it quotes.
    """
    try:
        yield
    except InputError as error:
        if pseudonyms is None:
            raise
        raise InputError(error.bare or _UNTOLD) from None


def read_key(path: Path, *, apart_from: Sequence[Path] = ()) -> Pseudonyms:
    """Reads a key file; spaces and line ends around its content do not count.

    Raises:
        InputError: no such file, a key of under 16 bytes or of zeros, or a key file inside one of the folders
            ``apart_from``.
    """
    make = f"make one with: head -c 32 /dev/urandom | base64 > {path}"
    try:
        secret = read_file(path, most=_MOST_KEY_BYTES).strip()
    except InputError as error:
        raise InputError(f"--pseudonymise {path}: {error}; {make}") from None
    if len(secret) < MIN_KEY_BYTES:
        raise InputError(f"--pseudonymise {path}: holds {len(secret)} bytes, needs {MIN_KEY_BYTES} or more; {make}")
    if secret.count(0) >= len(secret) / 4:  # never so in random bytes
        raise InputError(f"--pseudonymise {path}: holds zeros, as a file that was not written to its end; {make}")
    for folder in apart_from:
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"--pseudonymise {path}: lies inside {folder}; keep the key apart from the images")
    return Pseudonyms(secret)
