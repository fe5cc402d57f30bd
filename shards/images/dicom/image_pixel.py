"""What a DICOM header says of its pixels (the Image Pixel module, PS3.3 C.7.6.3), where it says it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from shards.images.dicom.header import text, whole
from shards.images.refusal import ImageError

Kind = Literal["gray", "index", "luminance", "RGB", "YBR"]


@dataclass(frozen=True, kw_only=True)
class ImagePixel:
    """Numbers are 0 where the header does not tell. ``has_overlay`` is of bits above those of the image."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    is_signed: bool
    is_planar: bool
    is_big_endian: bool
    has_overlay: bool
    padding: int | None
    photometric: str

    @property
    def colors(self) -> Literal["RGB", "YBR"] | None:
        """What three samples are; JPEG 2000's own colours are turned back into red, green and blue by its decoders."""
        if self.photometric in ("YBR_RCT", "YBR_ICT"):
            return "RGB"
        return "RGB" if self.photometric == "RGB" else "YBR" if self.photometric.startswith("YBR") else None


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Whole numbers (H, W), or (H, W, 3) of colours, each in ``container`` bits, as they lie in the file.

    Luminance is a gray image made of colours, which no window is meant for. ``is_signed`` is what the compressed image
    itself tells, None where it has no way to.
    """

    values: np.ndarray
    kind: Kind
    container: int
    is_compressed: bool = False
    is_signed: bool | None = None


def read_image_pixel(header: Dataset) -> ImagePixel:
    """Reads the module; what is missing is taken for what it nearly always is.

    Raises:
        ImageError: ``unsupported``: a photometric interpretation that is not of pictures.
    """
    samples = whole(header, "SamplesPerPixel") or 0
    photometric = text(header, "PhotometricInterpretation").upper() or ("RGB" if samples == 3 else "MONOCHROME2")
    if photometric.startswith("MONOCHROME"):
        photometric = "MONOCHROME1" if photometric.endswith("1") else "MONOCHROME2"
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB") and photometric[:4] != "YBR_":
        raise ImageError("unsupported", f"DICOM of Photometric Interpretation {photometric}")
    stored, high_bit = whole(header, "BitsStored") or 0, whole(header, "HighBit")
    return ImagePixel(
        rows=whole(header, "Rows") or 0,
        columns=whole(header, "Columns") or 0,
        samples=samples,
        allocated=whole(header, "BitsAllocated") or 0,
        stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        is_signed=whole(header, "PixelRepresentation") == 1,
        is_planar=whole(header, "PlanarConfiguration") == 1,
        is_big_endian=transfer_syntax(header) == ExplicitVRBigEndian,
        has_overlay=any(_is_in_pixels(header, group) for group in range(0x6000, 0x6020, 2)),
        padding=whole(header, "PixelPaddingValue"),
        photometric=photometric,
    )


def transfer_syntax(header: Dataset) -> str:
    """The transfer syntax's UID; empty where the file does not tell."""
    return text(header.file_meta, "TransferSyntaxUID") if getattr(header, "file_meta", None) else ""


def kind_of(about: ImagePixel, values: np.ndarray, colors: Literal["RGB", "YBR"] | None = None) -> Kind:
    """What decoded ``values`` are: of several samples ``colors``, if the coded pixels tell."""
    if values.ndim == 3:
        return colors or about.colors or "RGB"
    if about.photometric == "PALETTE COLOR":
        return "index"
    return "gray" if about.colors is None else "luminance"


def _is_in_pixels(header: Dataset, group: int) -> bool:
    position: Any = header.get((group, 0x0102))
    return position is not None and bool(position.value) and (group, 0x3000) not in header
