"""DICOM headers as devices write them: with elements that are empty, of the wrong type, or missing.

What is no number where one belongs counts as missing: an element that only says how to show the image never costs the
image.
"""

import io
import logging
import math
import warnings
import zlib
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from shards.images.dicom.signature import MODALITIES, PREFIX, SNIFFED, without_preamble
from shards.images.refusal import ImageError

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # headers of old devices break many rules

# Devices break many rules of headers that can be read all the same; what cannot be read is raised.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_PREAMBLE = 132  # bytes before the first element, with the prefix
_DEFLATED = "1.2.840.10008.1.2.1.99"
_CUT = "DICOM whose deflated data are cut or damaged"
_SIZE_ELEMENT = 12  # bytes of the element that tells the size of the meta information
_LAST_GROUPS = (b"\xfa\xff", b"\xfc\xff")  # signatures and padding, the only ones behind pixels


def read_header(data: bytes) -> Dataset:
    """Reads a file whose preamble or whose meta information may be missing.

    Raises:
        Exception: whatever pydicom raises for what it cannot read.
    """
    data = without_preamble(data)
    try:
        header = pydicom.dcmread(io.BytesIO(data), force=True)
    except zlib.error as error:
        raise ImageError("damaged", _CUT) from error
    if getattr(header, "file_meta", None) and text(header.file_meta, "TransferSyntaxUID") == _DEFLATED:
        _check_end(data, header)
    _spread(header)
    return header


def _spread(header: Dataset) -> None:
    """Puts what an enhanced image says in its groups of how to show its one frame where other images say it."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items(header, groups)[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in items(group, name)[:1]:
                    header.update({tag: item.get_item(tag) for tag in item.keys() - header.keys()})


def _check_end(data: bytes, header: Dataset) -> None:
    """Refuses a deflated file that is cut, or holds other than elements behind its pixels: as nothing in it is a
    checksum, damage shows there. Raises ImageError: ``damaged``."""
    size = whole(header.file_meta, "FileMetaInformationGroupLength")
    if size is None:
        return
    start = (_PREAMBLE if data[128:132] == PREFIX else 0) + _SIZE_ELEMENT + size
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflate.decompress(data[start:])
    if not inflate.eof:
        raise ImageError("damaged", _CUT)
    rest = plain[(header["PixelData"].file_tell or 0) + len(header.PixelData) :] if "PixelData" in header else b""
    if rest and rest[:2] not in _LAST_GROUPS:
        raise ImageError("damaged", "DICOM whose deflated data do not end where the pixels do: damaged inside")


def open_header(file: IO[bytes], keywords: tuple[str, ...]) -> Dataset:
    """As :func:`read_header`, these elements only, and no pixels."""
    start = file.read(SNIFFED)
    file.seek(0)
    if without_preamble(start) is not start:
        file = io.BytesIO(without_preamble(file.read()))
    return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(keywords), force=True)


def check_modality(header: Dataset) -> None:
    """Refuses what is no radiograph by its header. Raises ImageError: ``other-modality``."""
    modality = text(header, "Modality")
    if modality.upper() not in MODALITIES:
        raise ImageError("other-modality", f"DICOM of modality {modality}, not a radiograph")


def text(header: Dataset, keyword: str) -> str:
    """An element as text, the first of several; empty where it is missing, empty or unreadable."""
    return next(iter(texts(header, keyword)), "")


def texts(header: Dataset, keyword: str) -> list[str]:
    """The values of an element as text, without spaces around."""
    value = _value(header, keyword)
    values = [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)
    decoded = (one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in values if one is not None)
    return [one.strip(" \0\t\r\n") for one in decoded]


def numbers(header: Dataset, keyword: str) -> list[float | None]:
    """The values of an element; None for each that is no finite number. A decimal comma is read as a point."""
    value = _value(header, keyword)
    if isinstance(value, bytes):  # no number for pydicom, or one of a type that it could not tell
        is_text = dictionary_VR(keyword) in ("DS", "IS")
        order = "<" if header.original_encoding[1] in (None, True) else ">"
        value = (
            value.decode("latin-1").split("\\")
            if is_text
            else np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2").tolist()
        )
    many = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    return [_number(one) for one in many]


def number(header: Dataset, keyword: str) -> float | None:
    """The first value of an element, if it is a finite number."""
    return next(iter(numbers(header, keyword)), None)


def whole(header: Dataset, keyword: str) -> int | None:
    """The first value of an element, if it is a whole number."""
    value = number(header, keyword)
    return int(value) if value is not None and value == int(value) else None


def items(header: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is missing or unreadable."""
    value = _value(header, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Iterable) else []


def _value(header: Dataset, keyword: str) -> Any:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    try:
        return header[tag].value if tag in header else None
    except Exception:  # what a device has written there is not of the element's type
        return getattr(header.get_item(tag), "value", None)


def _number(value: Any) -> float | None:
    try:
        found = float(value.strip(" \0").replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
