"""Encoded images by row, checked, and their pixels: what every engine reads, and what happens to an image that is no
longer as packed. On the CPU each format is decoded by the fastest well-kept decoder."""

import threading
import zlib

import cv2
import numpy as np
import simplejpeg

from pipeline.engines.contract import Rows
from pipeline.engines.pixels import Pixels, pixel_type, steps
from pipeline.options import DamagePolicy
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.open_shards import CutOff
from shards.stored_as import depth_of


class DamagedSample(InputError):
    """An image is not as it was packed; the message names key, row, shard and offset."""


class Samples:
    """The encoded images of an index. ``kind`` is the type of their pixels: that of the deepest, if depths are mixed.

    Args:
        on_damage: ``error`` raises :class:`DamagedSample`; ``skip`` has the engine put another row of the batch in the
            image's place, so that batches keep their size, and counts it in :attr:`skipped`.
        checksums: compare each image read with its CRC-32 in the index: 11 us for 30 KB, a few percent of its
            decoding. Without it, damage that still decodes goes unseen.
    """

    def __init__(self, index: ShardIndex, *, on_damage: DamagePolicy = "error", checksums: bool = True) -> None:
        self.index, self.kind = index, pixel_type(depth_of(index))
        self.on_damage, self.checksums = on_damage, checksums
        self.skipped: dict[int, str] = {}
        """The damaged rows met so far, each with what is wrong."""
        self._lock = threading.Lock()

    def read(self, row: int) -> memoryview:
        """Encoded bytes of a row.

        Raises:
            DamagedSample: they have another checksum than when they were packed, or their shard ends before them; by
                their header they are of another size than the index says.
            InputError: the shard is missing or cannot be read.
        """
        try:
            data = self.index.read(row)
        except CutOff as error:
            raise self.damaged(row, f"is cut off, as its shard has {error.num_bytes:,} bytes only") from None
        if self.checksums and zlib.crc32(data) != self.index.crc32(row):
            raise self.damaged(row, "has another checksum than when it was packed")
        try:  # 1 us: a decoder would take the memory that a header claims
            found = size_of(data)
        except ValueError as error:
            raise self.damaged(row, f"cannot be decoded ({error})") from None
        width, height = self.index.datasets.sizes[row].tolist()
        if found != (width, height):
            raise self.damaged(row, f"cannot be decoded (it is {found[0]}x{found[1]} px instead of {width}x{height})")
        return data

    def decode(self, row: int, out: Pixels | None = None) -> Pixels:
        """Pixels (H, W) of a row, in ``out`` if given: contiguous, of that shape and of :attr:`kind`.

        Raises:
            DamagedSample: they have another checksum than when they were packed, or cannot be decoded.
        """
        data = self.read(row)
        if out is None:
            width, height = self.index.datasets.sizes[row].tolist()
            out = np.empty((height, width), dtype=self.kind)
        try:
            return decode_gray(data, out)
        except ValueError as error:
            raise self.damaged(row, f"cannot be decoded ({error})") from error

    def damaged(self, row: int, what: str) -> DamagedSample:
        """The error that names the row's key, shard and offset."""
        return DamagedSample(
            f"image {self.name(row)} {what}; pack it again or restore the shard, or go on without it (on_damage skip)"
        )

    def name(self, row: int) -> str:
        """What a row is, for messages: its key and where its bytes are."""
        place = self.index.place(row)
        return f"{place.key} (row {row}: {place.length} bytes at offset {place.offset} of {place.tar})"

    def skip(self, damage: dict[int, DamagedSample], rows: Rows) -> Rows:
        """Positions (B,) in the batch from which each place is filled: its own, or, where it is in ``damage``
        (position to error), that of the next image that is whole.

        Raises:
            DamagedSample: the policy is ``error``, or no image of the batch is whole.
        """
        taken = np.arange(len(rows))
        if not damage:
            return taken
        first = damage[min(damage)]
        whole = np.setdiff1d(taken, list(damage))
        if self.on_damage == "error" or not len(whole):
            raise first
        with self._lock:
            self.skipped |= {int(rows[position]): str(error) for position, error in damage.items()}
        return whole[np.searchsorted(whole, taken) % len(whole)]


def size_of(data: memoryview) -> tuple[int, int]:
    """Width and height that the header of a JPEG or PNG claims.

    Raises:
        ValueError: it is neither.
    """
    if data[:2] == b"\xff\xd8":
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        return width, height
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:
        raise ValueError("neither JPEG nor PNG")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def decode_gray(data: memoryview, out: Pixels | None = None) -> Pixels:
    """Pixels (H, W) of an encoded JPEG or PNG, uint8, or uint16 of a PNG of 16 bits.

    Args:
        out: contiguous (H, W) pixels to decode into and return: for a JPEG 30 % less time than fresh memory takes.
            Those of uint16 take images of 8 bits too.

    Raises:
        ValueError: it cannot be decoded, or is of another size than ``out``, or deeper.
    """
    if data[:2] == b"\xff\xd8":
        buffer = None if out is None or out.dtype != np.uint8 else out[:, :, None]
        pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY", buffer=buffer)[:, :, 0]
    else:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        except cv2.error as error:
            raise ValueError(str(error)) from error
        if pixels is None:
            raise ValueError("neither JPEG nor PNG")
    if out is None:
        return pixels
    if pixels.shape != out.shape:
        raise ValueError(f"it is {pixels.shape[1]}x{pixels.shape[0]} px instead of {out.shape[1]}x{out.shape[0]}")
    if pixels.dtype.itemsize > out.dtype.itemsize:
        raise ValueError("it has 16 bits a pixel instead of 8")
    if pixels.dtype != out.dtype:
        np.multiply(pixels, steps(out.dtype), out=out, dtype=out.dtype)
    elif not np.may_share_memory(pixels, out):
        out[:] = pixels
    return out
