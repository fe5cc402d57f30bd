"""Pseudonyms: keyed hashes (HMAC-SHA256) in the place of patient, study and path identifiers.

With one key file, a patient bears one pseudonym in every dataset; without the key file, pseudonyms can be neither
reversed nor confirmed by trying names. Whoever holds it can do the latter: keep it apart from the datasets.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shards.base.errors import InputError
from shards.packing.shard import WITHHELD
from shards.sources.record import Record, Rejected

MIN_KEY_BYTES = 16


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

    def of(self, kind: Literal["patient", "study", "image"], identifier: str) -> str:
        """32 hexadecimal digits; a patient and a study of the same name get different ones."""
        return self._hash(kind, identifier)

    def record(self, record: Record, *, keep_text: bool = False) -> Record:
        """The record under pseudonyms. ``name`` stays, which the build reads the image by and does not store; free text
        goes unless ``keep_text``, because reports name people."""
        image = self.of("image", record.source_path)
        return replace(
            record,
            key=image,
            source_path=image,
            patient_id=self.of("patient", record.patient_id),
            study_id=self.of("study", record.study_id),
            indication=record.indication if keep_text else None,
            findings=record.findings if keep_text else None,
        )

    def rejected(self, rejected: Rejected) -> Rejected:
        """The rejection with the pseudonym of its path and without its message, which can hold a name or a path."""
        return Rejected(source_path=self.of("image", rejected.source_path), reason=rejected.reason, message=WITHHELD)

    def _hash(self, kind: str, identifier: str) -> str:
        message = f"moco-cxr {kind}\0{identifier}".encode(errors="surrogateescape")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:32]


def read_key(path: Path, *, apart_from: Sequence[Path] = ()) -> Pseudonyms:
    """Reads a key file; spaces and line ends around its content do not count.

    Raises:
        InputError: no such file, a key of under 16 bytes, or a key file inside one of the folders ``apart_from``.
    """
    make = f"make one with: head -c 32 /dev/urandom | base64 > {path}"
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"--pseudonymise {path}: cannot be read ({error.strerror}); {make}") from None
    if len(secret) < MIN_KEY_BYTES:
        raise InputError(f"--pseudonymise {path}: holds {len(secret)} bytes, needs {MIN_KEY_BYTES} or more; {make}")
    for folder in apart_from:
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"--pseudonymise {path}: lies inside {folder}; keep the key apart from the images")
    return Pseudonyms(secret)
