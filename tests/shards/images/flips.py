"""What single flipped bits do to packed images, for each container and each compressed syntax.

    python -m tests.shards.images.flips [--flips 200] [--only NAME ...]

A made radiograph of 960 x 800 pixels is written in each way, one random bit of its coded pixels is flipped, and it is
packed at 320 px. A flip is *found* if the file is refused, or if its decoder dies or hangs: each is tried in a process
of its own. It is *harmless* if no pixel of the packed image is more than a gray level from the unharmed one, and else
*missed*; the last columns tell how many of the missed are off by more than a level on average over the image, and by
how many levels the worst. DCMTK
(``apt install dcmtk``) is needed for lossy JPEG of 12 bits and for lossless JPEG.
"""

import argparse
import io
import multiprocessing
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from shards.images.store import ImageSpec, store_image
from shards.phantom.anatomy import draw_anatomy
from shards.phantom.findings import chexpert_findings
from shards.phantom.radiograph import random_generator, take_radiograph
from tests.shards.dicom_files import dicom_bytes, dicom_dataset
from tests.shards.images.pictures import encoded

SPEC = ImageSpec(size=320, format="png")
PATIENCE_SECONDS = 60.0


def radiograph() -> np.ndarray:
    """(960, 800) uint16 of 12 bits, with the noise of a detector."""
    rng = random_generator(0)
    anatomy = draw_anatomy(rng, sex="F", age=50)
    film = take_radiograph(anatomy, chexpert_findings(rng, {}), projection="PA", height=960, width=800, rng=rng)
    return np.clip(film * 16.0 + rng.normal(0, 24, film.shape), 0, 4095).astype(np.uint16)


def files() -> dict[str, tuple[bytes, range]]:
    """Each kind of file, and which of its bytes hold coded pixels."""
    deep = radiograph()
    pixels = (deep >> 4).astype(np.uint8)
    gray, colors = Image.fromarray(pixels), Image.fromarray(pixels).convert("RGB")
    deep_gray = Image.fromarray(deep)
    jpeg = encoded(gray, "JPEG", quality=90)
    made: dict[str, bytes] = {
        "JPEG, gray": jpeg,
        "JPEG, colours": encoded(colors, "JPEG", quality=90),
        "JPEG, progressive": encoded(gray, "JPEG", quality=90, progressive=True),
        "JPEG, four inks (CMYK)": encoded(gray.convert("CMYK"), "JPEG", quality=90),
        "JPEG, two pictures (MPO)": encoded(colors, "MPO", save_all=True, append_images=[colors], quality=90),
        "PNG": encoded(gray),
        "PNG, 16 bits": encoded(deep_gray),
        "TIFF, uncompressed": encoded(gray, "TIFF"),
        "TIFF, LZW": encoded(gray, "TIFF", compression="tiff_lzw"),
        "TIFF, deflate, 16 bits": encoded(deep_gray, "TIFF", compression="tiff_deflate"),
        "TIFF, PackBits": encoded(gray, "TIFF", compression="packbits"),
        "TIFF, JPEG": encoded(gray, "TIFF", compression="jpeg", quality=90),
        "JPEG 2000 (JP2), lossless": encoded(gray, "JPEG2000"),
        "JPEG 2000 (JP2), lossy": encoded(gray, "JPEG2000", quality_mode="rates", quality_layers=[8]),
        "WebP": encoded(colors, "WEBP", quality=90),
        "DICOM, deflated": _deflated(deep),
        "DICOM, JPEG Baseline": dicom_bytes(pixels, syntax="1.2.840.10008.1.2.4.50"),
        "DICOM, JPEG-LS": dicom_bytes(deep, bits=12, syntax=JPEGLSLossless),
        "DICOM, JPEG-LS near lossless": _compressed(deep, JPEGLSNearLossless, jls_error=3),
        "DICOM, JPEG 2000 lossless": dicom_bytes(deep, bits=12, syntax=JPEG2000Lossless),
        "DICOM, JPEG 2000 lossy": _compressed(deep, JPEG2000, j2k_cr=[10]),
        "DICOM, RLE": dicom_bytes(deep, bits=12, syntax=RLELossless),
    }
    if shutil.which("dcmcjpeg"):
        made["DICOM, JPEG Extended, 12 bits"] = _by_dcmtk(deep, "+ee")
        made["DICOM, JPEG Lossless SV1"] = _by_dcmtk(deep, "+e1")
    return {name: (data, _coded(data)) for name, data in sorted(made.items())}


def _coded(data: bytes) -> range:
    """The bytes that hold coded pixels of the first image."""
    if data[128:132] != b"DICM":
        end = len(data)
        if data.startswith(b"\xff\xd8"):
            start = data.index(b"\xff\xda")
            return range(start + 14, data.index(b"\xff\xd9", start))
        return range(min(400, end // 4), end - 400)
    header = dicom_dataset(data)
    if not header.file_meta.TransferSyntaxUID.is_encapsulated:  # deflated
        return range(len(data) // 4, len(data) - 8)
    frame = next(generate_frames(header.PixelData, number_of_frames=1))
    start = data.index(frame[:-1])
    return range(start + 64 + 8, start + len(frame) - 4)


def _deflated(deep: np.ndarray) -> bytes:
    header = dicom_dataset(dicom_bytes(deep, bits=12))
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return _saved(header)


def _compressed(deep: np.ndarray, syntax: str, **options: object) -> bytes:
    header = dicom_dataset(dicom_bytes(deep, bits=12))
    header.compress(syntax, generate_instance_uid=False, **options)
    return _saved(header)


def _saved(header) -> bytes:
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _by_dcmtk(deep: np.ndarray, option: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "in.dcm"), Path(name, "out.dcm")
        source.write_bytes(dicom_bytes(deep, bits=12))
        subprocess.run(["dcmcjpeg", option, str(source), str(target)], check=True)
        return target.read_bytes()


def outcome(data: bytes, whole: np.ndarray, store: Callable[[bytes], bytes]) -> str | tuple[float, int]:
    """``found``, or the mean and the largest difference from the unharmed picture."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_pack, args=(data, store, theirs))
    child.start()
    theirs.close()
    try:
        packed = ours.recv() if ours.poll(PATIENCE_SECONDS) else None
    except EOFError:  # the decoder has ended the process
        packed = None
    child.kill()
    child.join()
    if packed is None:
        return "found"
    got = np.asarray(Image.open(io.BytesIO(packed))).astype(int)
    far = np.abs(got - whole) if got.shape == whole.shape else np.array([255])
    return float(far.mean()), int(far.max())


def _pack(data: bytes, store: Callable[[bytes], bytes], answer: Connection) -> None:
    try:
        answer.send(store(data))
    except Exception:
        answer.send(None)


def packed(data: bytes) -> bytes:
    """The stored form, as PNG. Raises ImageError."""
    return store_image(data, SPEC).data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| file | found | harmless | missed | of these over a level on average | at worst |")
    print("|---|---|---|---|---|---|")
    for name, (data, coded) in files().items():
        if options.only and name not in options.only:
            continue
        print(row(name, data, coded, flips=options.flips, store=packed), flush=True)


def row(name: str, data: bytes, coded: range, *, flips: int, store: Callable[[bytes], bytes]) -> str:
    """One line of the table."""
    rng = np.random.default_rng(1)
    whole = np.asarray(Image.open(io.BytesIO(store(data)))).astype(int)
    found, missed = 0, []
    for _ in range(flips):
        changed = bytearray(data)
        changed[int(rng.integers(coded.start, coded.stop))] ^= 1 << int(rng.integers(8))
        result = outcome(bytes(changed), whole, store)
        if isinstance(result, str):
            found += 1
        elif result[1] > 1:
            missed.append(result[0])
    harmless = flips - found - len(missed)
    off = f"{sum(far > 1 for far in missed)} | {max(missed):.2g}" if missed else "|"
    return f"| {name} | {found} | {harmless} | {len(missed)} | {off} |"


if __name__ == "__main__":
    main()
