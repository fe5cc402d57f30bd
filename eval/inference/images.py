"""The images that are given, one behind the other: each in its stored form, as packing would have it, or with the
reason why there is none.

Files are read by :func:`shards.packing.image.store_files`, in processes that may die of them; DICOM headers are asked
as packing a DICOM tree asks them, so that what is no radiograph is refused. Images of a dataset are what it holds.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.engines.samples import DamagedSample, Samples
from shards.base.errors import InputError
from shards.base.facts import num_cores
from shards.format.manifest import MANIFEST
from shards.images.refusal import ImageError
from shards.images.store import ImageSpec
from shards.index import ShardIndex
from shards.packing.image import store_files
from shards.remote.address import Address
from shards.sources.files import FolderFiles, SourceFiles, open_files
from shards.sources.headers import Header, pictureless_kind, read_headers, refusal
from shards.sources.record import Rejected, make_key, printable, short_hash
from shards.sources.release import IMAGE_SUFFIXES

_FEW = 8  # images, for which no process more is started
_TEXT = "indication"
_NOTHING = ("not-an-image", "empty")
_DECISIVE = ("size", "square", "format", "depth")
_ROOT = FolderFiles(Path("/"))


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Why an image cannot be read: a class, as in ``rejected.parquet``, and words."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Given:
    """One image: ``source`` is the input that it was given by, ``path`` its place in it, ``stored`` the bytes of a JPEG
    or PNG. ``text``: the indication that a dataset has of it."""

    source: str
    key: str
    path: str
    stored: bytes | Refused
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Files:
    """Files by their names in ``files``, which the output calls ``shown``; ``are_named``: by the user, one by one."""

    source: str
    files: SourceFiles
    names: Sequence[str]
    shown: Mapping[str, str]
    are_named: bool = False


class GivenImages:
    """What ``--input`` names. Its images come in the order of the inputs, those of a folder by name, those of a dataset
    by row.

    Raises:
        InputError: an input that is not there, cannot be read, or holds no image; one that is given twice.
    """

    def __init__(self, inputs: Sequence[str]) -> None:
        self.num_left_out = 0
        """Files that were passed over so far, because they are no images by name and by content."""
        self._parts: list[_Files | ShardIndex] = []
        named: list[str] = []
        if not inputs:
            raise InputError("--input: no value given; give at least one folder, zip, file or dataset")
        twice = next((each for each in inputs if list(inputs).count(each) > 1), None)
        if twice is not None:
            raise InputError(f"--input {twice}: given twice; give it once")
        for given in inputs:
            part = _opened(given)
            if part is None:
                named.append(given)
            else:
                self._parts.append(part)
        if named:
            shown = {os.path.realpath(name).lstrip("/"): name for name in named}
            self._parts.append(_Files(source="", files=_ROOT, names=list(shown), shown=shown, are_named=True))

    def __len__(self) -> int:
        """How many there are, with those that turn out to be no images."""
        return sum(len(part.names) if isinstance(part, _Files) else len(part) for part in self._parts)

    @property
    def has_texts(self) -> bool:
        """Whether a dataset among them has indications."""
        return any(isinstance(part, ShardIndex) and _TEXT in part.table.column_names for part in self._parts)

    def other_specs(self, spec: ImageSpec) -> list[str]:
        """Datasets whose images are not stored by ``spec``, which is how files are."""
        wanted = tuple(getattr(spec, name) for name in _DECISIVE)
        packed = [each for part in self._parts if isinstance(part, ShardIndex) for each in part.packed]
        default = ImageSpec()
        found = [tuple(each.image.get(name, getattr(default, name)) for name in _DECISIVE) for each in packed]
        return [str(each.folder) for each, stored in zip(packed, found, strict=True) if stored != wanted]

    def read(self, spec: ImageSpec, *, workers: int = -1) -> Iterator[Given | None]:
        """The images; None for each file that is passed over."""
        seen: set[str] = set()
        for part in self._parts:
            for given in _of_dataset(part) if isinstance(part, ShardIndex) else _of_files(part, spec, workers, seen):
                self.num_left_out += given is None
                yield given


def _opened(given: str) -> _Files | ShardIndex | None:
    """A folder, zip or dataset; None of a single file."""
    if Address.parse(given) is not None:
        return ShardIndex.open(given)
    path = Path(given)
    if (path / MANIFEST).is_file():
        return ShardIndex.open(path)
    if path.is_file() and path.suffix.lower() != ".zip":
        return None
    if not path.exists():
        raise InputError(f"--input {given}: no such file or folder; check the path")
    files = open_files(path)
    names = files.names()
    if not names:
        raise InputError(f"--input {given}: holds no files; give a folder with images")
    return _Files(source=given, files=files, names=names, shown={})


def _of_dataset(index: ShardIndex) -> Iterator[Given]:
    samples = Samples(index)
    names = ["key", "dataset", "source_path", *([_TEXT] if _TEXT in index.table.column_names else [])]
    columns = [index.column(name) for name in names]
    for row, (key, dataset, path, *text) in zip(index.rows.tolist(), zip(*columns, strict=True), strict=True):
        stored: bytes | Refused
        try:
            stored = bytes(samples.read(row))
        except DamagedSample as error:
            stored = Refused(reason="damaged", message=str(error))
        yield Given(source=dataset, key=key, path=path, stored=stored, text=text[0] if text else None)


def _of_files(part: _Files, spec: ImageSpec, workers: int, seen: set[str]) -> Iterator[Given | None]:
    most = num_cores() if workers == -1 else workers
    processes = max(1, min(most, len(part.names) // _FEW))
    headers = read_headers(part.files, part.names)
    found = store_files(part.names, part.files, spec, processes=processes)
    for name, header, image in zip(part.names, headers, found, strict=True):
        if not part.are_named and _is_no_image(name, header, image):
            yield None
            continue
        path = part.shown.get(name, name)
        stem = str(PurePosixPath(path).with_suffix(""))
        key = make_key(*PurePosixPath(stem).parts)
        if key in seen:
            key = make_key(key[:70], short_hash(f"{part.source}/{path}"))
        seen.add(key)
        refused = _refused(name, header)
        if refused is None and isinstance(image, ImageError):
            refused = Refused(reason=image.reason, message=printable(str(image)))
        stored = refused if isinstance(image, ImageError) or refused is not None else image.data
        assert stored is not None
        yield Given(source=part.source or path, key=key, path=printable(path), stored=stored)


def _is_no_image(name: str, header: Header | Rejected | None, image: object) -> bool:
    """A list, a text, an archive's directory: what lies beside images in any folder."""
    if PurePosixPath(name).name.upper() == "DICOMDIR":
        return True
    is_named_so = PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    return header is None and not is_named_so and isinstance(image, ImageError) and image.reason in _NOTHING


def _refused(name: str, header: Header | Rejected | None) -> Refused | None:
    if header is None:
        return None
    if isinstance(header, Rejected):
        return Refused(reason=header.reason, message=header.message)
    kind = pictureless_kind(header)
    if kind:
        return Refused(reason="no-pixels", message=f"DICOM of {printable(kind)}, which holds no image")
    rejected = refusal(name, header)
    return None if rejected is None else Refused(reason=rejected.reason, message=rejected.message)
