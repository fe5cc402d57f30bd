"""Damaged pictures without end: small files of every kind, broken in ways that reach deep into decoders.

    python -m tests.shards.images.fuzz [--seconds 60] [--seed 0] [--keep FOLDER]

Each is decoded in a sandbox. What must come is a stored image or a refusal; losses are printed, and kept where asked.
Any other exception ends the run.
"""

import argparse
import hashlib
import io
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from shards.images.refusal import ImageError
from shards.images.store import ImageSpec, store_image
from shards.sandbox.sandbox import Limits, Lost, Sandbox
from tests.shards.dicom_files import dicom_bytes, dicom_dataset
from tests.shards.images.pictures import encoded

LIMITS = Limits(seconds=5.0, memory_bytes=2 << 30)
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


def pictures() -> dict[str, bytes]:
    """Small files of what is no DICOM."""
    deep = (np.add.outer(np.arange(56), np.arange(64)) * 500).astype(np.uint16)
    gray = Image.fromarray((deep >> 8).astype(np.uint8))
    colors = Image.merge("RGB", (gray, gray.rotate(90, expand=False), gray))
    kinds = {
        "jpeg": (gray, "JPEG", {}),
        "jpeg colours": (colors, "JPEG", {}),
        "jpeg progressive": (colors, "JPEG", {"progressive": True}),
        "png": (gray, "PNG", {}),
        "png 16": (Image.fromarray(deep), "PNG", {}),
        "png palette": (colors.quantize(16), "PNG", {}),
        "png colours": (colors, "PNG", {}),
        "tiff": (gray, "TIFF", {}),
        "tiff lzw": (gray, "TIFF", {"compression": "tiff_lzw"}),
        "tiff deflate": (Image.fromarray(deep), "TIFF", {"compression": "tiff_deflate"}),
        "tiff packbits": (gray, "TIFF", {"compression": "packbits"}),
        "tiff jpeg": (gray, "TIFF", {"compression": "jpeg"}),
        "tiff fax": (gray.convert("1"), "TIFF", {"compression": "group4"}),
        "jp2": (colors, "JPEG2000", {}),
        "webp": (colors, "WEBP", {}),
        "gif": (gray, "GIF", {}),
        "bmp": (colors, "BMP", {}),
        "pgm": (gray, "PPM", {}),
    }
    files = {name: encoded(image, form, **options) for name, (image, form, options) in kinds.items()}
    array = io.BytesIO()
    np.save(array, deep)
    return files | {"npy": array.getvalue()}


def dicoms() -> dict[str, bytes]:
    """Small DICOM files, one of each way in which pixels are coded."""
    deep = np.kron(np.arange(56).reshape(7, 8) * 70 + 30, np.ones((8, 8), int)).astype(np.uint16)
    pixels = (deep >> 4).astype(np.uint8)
    coded = {
        "lossless": dicom_bytes(deep, bits=12, syntax=JPEGLosslessSV1),
        "extended": dicom_bytes(deep, bits=12, syntax=JPEGExtended12Bit),
        "baseline": dicom_bytes(pixels, syntax=JPEGBaseline8Bit),
        "jpeg-ls": dicom_bytes(deep, bits=12, syntax=JPEGLSLossless),
        "jpeg 2000": dicom_bytes(deep, bits=12, syntax=JPEG2000Lossless),
        "rle": dicom_bytes(deep, bits=12, syntax=RLELossless),
        "native": dicom_bytes(deep, bits=12, WindowCenter=1000, WindowWidth=2000),
    }
    header = dicom_dataset(coded["native"])
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    header.save_as(buffer)
    lossy = dicom_dataset(coded["native"])
    lossy.compress(JPEG2000, j2k_cr=[4], generate_instance_uid=False)
    other = io.BytesIO()
    lossy.save_as(other)
    return coded | {"deflated": buffer.getvalue(), "jpeg 2000 lossy": other.getvalue()}


def broken(files: dict[str, bytes], chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """One file after the other, each broken in some ways: bits, bytes, numbers, pieces cut, moved or doubled."""
    names = sorted(files)
    while True:
        name = chance.choice(names)
        data = bytearray(files[name])
        start = chance.choice((0, 0, max(0, data.find(b"\xe0\x7f\x10\x00"))))  # often behind a DICOM header
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            place = chance.randrange(start, len(data)) if start < len(data) else 0
            match chance.randrange(7):
                case 0:
                    data[place : place + 1] = bytes([data[place] ^ 1 << chance.randrange(8)] if data else b"")
                case 1:
                    data[place : place + 1] = bytes([chance.choice(_EXTREMES)])
                case 2:
                    size = chance.choice((2, 4))
                    data[place : place + size] = bytes([chance.choice(_EXTREMES)]) * size
                case 3:
                    data[place : place + size] = chance.randbytes(size := chance.choice((1, 2, 4)))
                case 4:
                    del data[place : place + chance.choice((1, 2, 4, 64))]
                case 5:
                    other = files[chance.choice(names)]
                    at = chance.randrange(len(other))
                    data[place:place] = other[at : at + chance.choice((4, 64, 512))]
                case 6:
                    del data[place + 8 :]
        yield name, bytes(data)


def judge(item: tuple[str, bytes]) -> str:
    """What becomes of a file: packed, or the reason of its refusal."""
    try:
        store_image(item[1], ImageSpec(size=32))
    except ImageError as error:
        return error.reason
    return "packed"


def fuzz(files: dict[str, bytes], *, seconds: float, seed: int) -> tuple[Counter[str], list[tuple[str, bytes, Lost]]]:
    """How many files came to what, and those that were lost."""
    end = time.monotonic() + seconds
    found: Counter[str] = Counter()
    lost = []
    stream = broken(files, random.Random(seed))
    with Sandbox(judge, LIMITS) as sandbox:
        while time.monotonic() < end:
            some = [next(stream) for _ in range(64)]
            for (name, data), result in zip(some, sandbox.map(some), strict=True):
                if isinstance(result, Lost):
                    lost.append((name, data, result))
                found[result.kind if isinstance(result, Lost) else result] += 1
    return found, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    for files in (pictures(), dicoms()):
        found, lost = fuzz(files, seconds=options.seconds / 2, seed=options.seed)
        print(", ".join(f"{reason} {count:,}" for reason, count in found.most_common()))
        for name, data, result in lost:
            print(f"{name}: {result.kind} {result.how}")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


if __name__ == "__main__":
    from tests.shards.images import fuzz as module  # whose functions other processes find by its name

    module.main()
