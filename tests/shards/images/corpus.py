"""Every DICOM and picture of a folder decoded by the project and by independent ways, and where they differ.

    python -m tests.shards.images.corpus FOLDER [FOLDER ...]
    python -m tests.shards.images.corpus --pydicom   (pydicom's own test files, and those of pydicom-data)

The independent ways are DCMTK's ``dcm2img`` or ``dcmj2pnm`` where it is installed (``apt install dcmtk``), pydicom's
pipeline (pixel_array, apply_modality_lut, apply_voi_lut), and Pillow for other pictures. Padding is left out of the
comparison: the project shows it black. The last lines list the files that differ by more than one gray level of 255.
"""

import argparse
import importlib.util
import io
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from shards.images.decode import decode_image
from shards.images.depth import CUT
from shards.images.dicom.decode import show_header
from shards.images.dicom.header import read_header
from shards.images.dicom.signature import is_dicom
from shards.images.refusal import ImageError

DCMTK = next((tool for tool in ("dcm2img", "dcmj2pnm") if shutil.which(tool)), None)
EXPLAINED = {
    "SC_[ry]*": "Luminance and chroma: the luminance is taken as it is coded, not by way of red, green and blue.",
    "171[69]6": "The window shows white alone but for a few pixels, so it is passed over.",
    "*verlay*": "DCMTK draws the overlay.",
    "liver*_1frame.dcm": "One bit a pixel: DCMTK shows a set one at half of white.",
}
_WHOLE = 1 << 20  # more than any side, so nothing is decoded at a reduced size


def ours(data: bytes) -> np.ndarray:
    """The project's gray pixels, whatever the modality. Raises ImageError."""
    if not is_dicom(data):
        return np.asarray(decode_image(data, shorter=_WHOLE).gray)
    try:
        return show_header(read_header(data))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError("damaged", type(error).__name__) from error


def by_dcmtk(data: bytes) -> np.ndarray | None:
    """DCMTK's gray pixels: by the first VOI LUT, or else the first window, or else all levels of an 8-bit image; None
    for others, which it shows by a rule of its own, or if it cannot read the file."""
    if DCMTK is None:
        return None
    header = read_header(data)
    display = ["+Wl", "1"] if header.get("VOILUTSequence") else ["+Wi", "1"] if _has_window(header) else []
    if not display and header.get("SamplesPerPixel") == 1 and header.get("BitsStored", 8) > 8:
        return None
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "in.dcm"), Path(name, "out.pnm")
        source.write_bytes(data)
        command = [DCMTK, "--write-raw-pnm", "--frame", "1", *display, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        if done.returncode or not target.exists():
            return None
        return np.asarray(Image.open(target).convert("L"))


def by_pydicom(data: bytes) -> np.ndarray | None:
    """pydicom's pipeline, scaled to its range; None if it raises or warns of no way to show the pixels."""
    try:
        header = pydicom.dcmread(io.BytesIO(data), force=True)
        pixels = header.pixel_array
        if header.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, header)
            pixels = pixels if pixels.max() < 256 else pixels / 257
        if pixels.ndim == 3:
            return np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert("L"))
        values = apply_modality_lut(pixels, header)
        if header.get("VOILUTSequence"):
            shown = apply_voi_lut(np.rint(values).astype(np.int32), header).astype(float)
            shown /= 2.0 ** max(8, int(shown.max()).bit_length()) - 1
        else:
            low, high = _range(header)
            if _has_window(header):
                values = apply_voi_lut(values, header)
            elif header.BitsStored > 8:
                low, high = np.quantile(values[~padding(header, pixels)], [CUT, 1 - CUT])
            shown = (values - low) / max(high - low, 1e-9)
        if header.PhotometricInterpretation == "MONOCHROME1":
            shown = 1 - shown
        return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    except Exception:
        return None


def _range(header: pydicom.Dataset) -> tuple[float, float]:
    """The values that all of the image's bits can have, rescaled."""
    bits = int(header.BitsStored)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if header.PixelRepresentation else [0, 2**bits - 1])
    low, high = sorted(apply_modality_lut(ends, header).astype(float).tolist())
    return low, high


def _has_window(header: pydicom.Dataset) -> bool:
    return None not in (header.get("WindowCenter"), header.get("WindowWidth"))


def by_pillow(data: bytes) -> np.ndarray | None:
    """Pillow's own gray, for pictures of 8 bits."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("L")) if image.mode[:1] not in "IF" else None
    except Exception:
        return None


DICOM_WAYS = {"DCMTK": by_dcmtk, "pydicom": by_pydicom}
PICTURE_WAYS = {"Pillow": by_pillow}


def padding(header: pydicom.Dataset, pixels: np.ndarray) -> np.ndarray:
    first = header.get("PixelPaddingValue")
    last = header.get("PixelPaddingRangeLimit")
    if first is None:
        return np.zeros(pixels.shape, bool)
    low, high = sorted((first, first if last is None else last))
    return (pixels >= low) & (pixels <= high)


def compare(data: bytes, other: Callable[[bytes], np.ndarray | None], got: np.ndarray) -> str | None:
    """How far another way's pixels are; empty for within a level, None if there are none to compare."""
    want = other(data)
    if want is None:
        return None
    if want.shape != got.shape:
        return f"{got.shape[1]} x {got.shape[0]} against {want.shape[1]} x {want.shape[0]} pixels"
    far = np.abs(got.astype(int) - want)
    if is_dicom(data):
        header = pydicom.dcmread(io.BytesIO(data), force=True)
        if header.get("PixelPaddingValue") is not None:
            far[padding(header, header.pixel_array)] = 0
    return "" if far.max() <= 1 else f"{far.mean():.1f} levels on average, {far.max()} at most"


@dataclass
class Survey:
    """Files by what became of them: ``refused`` by reason, ``compared`` by way and outcome, ``differ`` by name."""

    num_read: int = 0
    num_others: int = 0
    refused: dict[str, list[str]] = field(default_factory=dict)
    compared: Counter[tuple[str, str]] = field(default_factory=Counter)
    differ: dict[str, list[str]] = field(default_factory=dict)


def survey(paths: Iterable[Path]) -> Survey:
    """Decodes each file by the project and by the other ways."""
    found = Survey()
    for path in paths:
        data = path.read_bytes()
        try:
            got = ours(data)
        except ImageError as error:
            if error.reason in ("not-an-image", "empty"):
                found.num_others += 1
            else:
                found.refused.setdefault(error.reason, []).append(f"{path.name}: {error}")
            continue
        found.num_read += 1
        for name, other in (
            {"DCMTK": by_dcmtk, "pydicom": by_pydicom} if is_dicom(data) else {"Pillow": by_pillow}
        ).items():
            difference = compare(data, other, got)
            outcome = {None: "nothing to compare", "": "within a level"}.get(difference, "further")
            found.compared[name, outcome] += 1
            if difference:
                found.differ.setdefault(path.name, []).append(f"{name}: {difference}")
    return found


def explanation(name: str) -> str:
    """Why a file of pydicom's differs; empty if nobody knows."""
    return next((why for pattern, why in EXPLAINED.items() if fnmatch(name, pattern)), "")


def files_of(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def pydicom_folders() -> list[Path]:
    """pydicom's own test files, and those of the package pydicom-data, if it is installed."""
    names = ("pydicom.data.test_files", "pydicom.data.charset_files", "data_store")
    found = [importlib.util.find_spec(name) for name in names]
    return [Path(place) for spec in found if spec for place in spec.submodule_search_locations or ()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--pydicom", action="store_true", help="pydicom's own test files and pydicom-data")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    paths = files_of([*options.folders, *(pydicom_folders() if options.pydicom else [])])
    found = survey(paths)
    num_refused = sum(map(len, found.refused.values()))
    print(f"{len(paths)} files: {found.num_read} read, {num_refused} refused, {found.num_others} no pictures")
    print(*(f"{name}, {outcome}: {count}" for (name, outcome), count in sorted(found.compared.items())), sep="\n")
    for reason, messages in sorted(found.refused.items()):
        print(f"\nrefused as {reason}: {len(messages)}", *messages, sep="\n  ")
    print("\ndiffer by more than a level:")
    for name, lines in sorted(found.differ.items()):
        print(f"  {name}: {'; '.join(lines)}. {explanation(name)}")


if __name__ == "__main__":
    main()
