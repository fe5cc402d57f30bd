"""The plan of a build: what is to be packed, and into which shards."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from shards.base.errors import InputError, OptionError
from shards.base.randomness import generator
from shards.format.blank import Blank
from shards.format.schema import FORMAT_VERSION, RESERVED_COLUMNS, SPLITS
from shards.images.store import ImageSpec
from shards.packing.asked import asked
from shards.packing.config import BuildConfig
from shards.packing.image import Packing
from shards.packing.listed_split import list_splits
from shards.packing.pseudonym import Pseudonyms, read_key, withholding
from shards.packing.shard import NOT_STORED, Shard
from shards.packing.split import Shares, draw_splits, shared_patients
from shards.sources.files import SourceFiles, open_files
from shards.sources.record import Record, Rejected, short_hash
from shards.sources.registry import read_release, takes_list
from shards.sources.release import Release

_SIZE_THREADS = 16
_ADDED = ("boxes", "box_frame", "kept")  # of which most releases have none: their datasets keep their digest
_DIGESTED = tuple(field.name for field in fields(Record) if field.name not in (*NOT_STORED, *_ADDED))
_PLAIN = tuple(sorted(name for name in _DIGESTED if name != "labels"))
_plain_values = attrgetter(*_PLAIN)
_PLAIN_TEXT = "{" + ", ".join(f'"{name}": %({name})s' for name in sorted((*_DIGESTED, "bytes"))) + "}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides the bytes of a dataset.

    ``sizes`` are the bytes of each record's file, None where it is missing or unreadable; ``rows`` are positions in
    ``records`` of each shard, ``links`` pairs of positions whose files are one. ``blanks`` says what each label means
    where it is blank. ``causes`` are the notes that say why rows were refused. ``asked`` is what was asked, by option;
    ``options`` and ``source`` are digests of that and of what is packed.
    """

    packing: Packing
    records: Sequence[Record]
    sizes: Sequence[int | None]
    links: Sequence[tuple[int, int]]
    rejected: Sequence[Rejected]
    notes: tuple[str, ...]
    blanks: Mapping[str, Blank]
    rows: dict[str, npt.NDArray[np.int64]]
    causes: tuple[str, ...] = ()
    asked: Mapping[str, str]
    options: str
    source: str

    @property
    def num_source(self) -> int:
        """Images in: records and what the source itself refused."""
        return len(self.records) + len(self.rejected)

    @property
    def fingerprint(self) -> str:
        """One digest of options and source."""
        return hashlib.sha256(f"{self.options}{self.source}".encode()).hexdigest()

    def shard(self, name: str) -> Shard:
        """The shard of this name, with its records."""
        rows = self.rows[name].tolist()
        records, sizes = tuple(self.records[row] for row in rows), tuple(self.sizes[row] for row in rows)
        return Shard(name=name, records=records, sizes=sizes)


def make_plan(config: BuildConfig) -> Plan:
    """Reads the release and plans its shards; nothing is written.

    Raises:
        InputError: an input that is no such release, options that make no sense, a key file that cannot be used.
    """
    form = config.format or ("png" if config.depth == 16 else "jpeg")
    spec = ImageSpec(size=config.size, square=config.square, format=form, quality=config.quality, depth=config.depth)
    pseudonyms = _pseudonyms(config)
    with withholding(pseudonyms):
        files = open_files(config.input.absolute(), takes_list=takes_list(config.source))  # workers run elsewhere
        release = _read(config, files, pseudonyms)
    records, repeated = _unique_keys(release.records)
    rejected = [*release.rejected, *repeated]
    sizes = _file_sizes(records, files)
    name = config.name or config.output.resolve().name
    key_id = pseudonyms.key_id if pseudonyms else None
    options = repr((FORMAT_VERSION, name, spec, config.seed, config.shard_images, key_id, config.keep_text))
    if config.split is not None:
        options += f" {Shares.parse(config.split)} {config.split_seed}"
    options += "".join(f" {label!r} unknown where blank" for label in _unknown_labels(release.blanks, records))
    options += f" {spec.depth} bits" if spec.depth != 8 else ""
    options += "".join(f" keeps {column!r}" for column in release.kept)
    return Plan(
        packing=Packing(
            files=files,
            spec=spec,
            dataset=name,
            labels=tuple(release.labels),
            output=config.output.absolute(),
            kept=tuple(release.kept),
            has_boxes=any(record.boxes is not None for record in records),
            pseudonyms=pseudonyms,
        ),
        records=records,
        sizes=sizes,
        links=_links(records, files),
        rejected=rejected,
        notes=tuple(release.notes),
        causes=tuple(note for note in release.notes if note.is_cause),
        blanks=release.blanks,
        rows=_shard_rows(records, seed=config.seed, shard_images=config.shard_images),
        asked=asked(config, spec, name=name, key_id=key_id),
        options=hashlib.sha256(options.encode()).hexdigest(),
        source=_source_digest(release.labels, records, sizes, rejected),
    )


def _pseudonyms(config: BuildConfig) -> Pseudonyms | None:
    if config.pseudonymise is not None:
        return read_key(config.pseudonymise, apart_from=(config.input, config.output))
    for flag, given in (("--keep-text", config.keep_text), ("--keep-labels", config.keep_labels)):
        if given:
            raise InputError(f"{flag}: has no meaning without --pseudonymise; leave it out")
    return None


def _read(config: BuildConfig, files: SourceFiles, pseudonyms: Pseudonyms | None) -> Release:
    """The release with the splits that were asked for, under pseudonyms where there are some."""
    release = read_release(config.source, files, config.source_options)
    if config.splits is not None and config.split is not None:
        raise OptionError("--splits: --split draws splits as well; leave one of them out")
    if config.splits is not None:
        release = list_splits(release, config.splits)
    if config.split is not None:
        drawn = draw_splits(release.records, Shares.parse(config.split), seed=config.split_seed)
        release = replace(release, records=drawn)
    elif config.split_seed:
        raise OptionError(f"--split-seed {config.split_seed}: has no meaning without --split; leave it out")
    _refuse_shared_patients(release.records, config)
    if pseudonyms is not None:
        release = pseudonyms.release(release, keep_text=config.keep_text, keep_labels=config.keep_labels)
    _refuse_taken_names(release, config)
    return release


def _refuse_taken_names(release: Release, config: BuildConfig) -> None:
    """Refuses labels, and columns to keep, that bear the name of a column that the index has already."""
    taken = set(release.labels) & RESERVED_COLUMNS
    if taken:
        raise InputError(
            f"--input {config.input}: label {min(taken)!r} has the name of an index column; rename it",
            bare=f"--input: label {min(taken)!r} has the name of an index column; rename it",
        )
    taken = set(release.kept) & {*RESERVED_COLUMNS, *release.labels}
    if taken:
        raise OptionError(f"--keep-columns {min(taken)}: the index has a column of this name already; leave it out")


def _refuse_shared_patients(records: Sequence[Record], config: BuildConfig) -> None:
    """Refuses a column of splits that learns from a patient and tests on the same one."""
    column = config.source_options.split_column if config.splits is None else None
    shared = shared_patients(records) if column else {}
    if shared:
        patient, splits = next(iter(shared.items()))
        told = f"--split-column {column}: {len(shared):,} patients are in several splits"
        remedy = (
            "so what is tested on would be learnt from; mend it, or give --split 70/10/20 in its place, which keeps "
            "patients together"
        )
        raise InputError(f"{told}, such as {patient} in {' and '.join(splits)}, {remedy}", bare=f"{told}, {remedy}")


def _unique_keys(records: Sequence[Record]) -> tuple[list[Record], list[Rejected]]:
    """Records whose keys are told apart by their paths, and rejections of images that are listed again."""
    counts = Counter(record.key for record in records)
    unique: dict[str, Record] = {}
    repeated: list[Rejected] = []
    for record in records:
        path = record.source_path
        one = record if counts[record.key] == 1 else replace(record, key=f"{record.key}-{short_hash(path)}")
        if one.key in unique:
            message = "listed more than once; the first of its rows is packed"
            repeated.append(Rejected(source_path=path, reason="duplicate", message=message))
        else:
            unique[one.key] = one
    return list(unique.values()), repeated


def _unknown_labels(blanks: Mapping[str, Blank], records: Sequence[Record]) -> list[str]:
    """The labels that are unknown for some record. The others are the same whatever a blank means."""
    sets = {id(record.labels): record.labels for record in records}.values()  # records share them
    return [label for label, rule in blanks.items() if rule == "unknown" and any(label not in of for of in sets)]


def _file_sizes(records: Sequence[Record], files: SourceFiles) -> list[int | None]:
    def size(record: Record) -> int | None:
        try:
            return files.size(record.name)
        except (OSError, InputError):  # the worker meets it again, and rejects the image with the reason
            return None

    chunk = 1 + len(records) // (8 * _SIZE_THREADS)
    chunks = [records[first : first + chunk] for first in range(0, len(records), chunk)]
    with ThreadPoolExecutor(_SIZE_THREADS) as pool:  # network storage answers many questions at a time
        return [one for part in pool.map(lambda part: [size(record) for record in part], chunks) for one in part]


def _links(records: Sequence[Record], files: SourceFiles) -> list[tuple[int, int]]:
    """Positions of two records whose files are one, by links to it or to a folder around it.

    Raises:
        InputError: they are in two splits.
    """
    first: dict[tuple[int, int], int] = {}
    links = []
    for row, record in enumerate(records):
        number = files.file_number(record.name)
        if number is not None and first.setdefault(number, row) != row:
            links.append((first[number], row))
    across = [pair for pair in links if len({records[row].split for row in pair}) > 1]
    if across:
        one, two = (records[row] for row in across[0])
        raise InputError(
            f"--input: {len(across):,} images are in two splits, as their files have two names by links, such as "
            f"{one.source_path} ({one.split}) and {two.source_path} ({two.split}), so what is tested on would be "
            "learnt from; remove the links"
        )
    return links


def _shard_rows(records: Sequence[Record], *, seed: int, shard_images: int) -> dict[str, npt.NDArray[np.int64]]:
    rows = {}
    for number, split in enumerate(SPLITS):
        chosen = np.array([row for row, record in enumerate(records) if record.split == split], dtype=np.int64)
        order = generator("build", seed, number).permutation(len(chosen))
        for first in range(0, len(chosen), shard_images):
            rows[f"{split}-{first // shard_images:06d}"] = chosen[order[first : first + shard_images]]
    return rows


def _plain_text(record: Record, size: int | None, labels: str) -> str:
    """What ``json.dumps`` with sorted keys says of a record, its ``size`` and its ``labels``, which are JSON already.
    Called for each, it would take a fifth of the time of a plan."""
    texts = [encode_basestring_ascii(one) if type(one) is str else _as_json(one) for one in _plain_values(record)]
    return _PLAIN_TEXT % (dict(zip(_PLAIN, texts, strict=True)) | {"labels": labels, "bytes": _as_json(size)})


@lru_cache(maxsize=1 << 16, typed=True)  # typed: 1, 1.0 and True are equal, and are written otherwise
def _as_json(value: object) -> str:
    return json.dumps(value)


def _source_digest(
    labels: Sequence[str], records: Sequence[Record], sizes: Sequence[int | None], rejected: Sequence[Rejected]
) -> str:
    digest = hashlib.sha256(repr(tuple(labels)).encode())
    texts: dict[int, str] = {}  # of labels, which records share
    for record, size in zip(records, sizes, strict=True):
        if record.boxes is not None or record.kept:
            row = {name: getattr(record, name) for name in (*_DIGESTED, *_ADDED)}
            text = json.dumps(row | {"labels": dict(record.labels), "bytes": size}, sort_keys=True)
        else:
            found = texts.get(id(record.labels))
            if found is None:
                found = texts[id(record.labels)] = json.dumps(dict(record.labels), sort_keys=True)
            text = _plain_text(record, size, found)
        digest.update(text.encode())
    for refused in rejected:
        digest.update(repr(refused).encode())
    return digest.hexdigest()
