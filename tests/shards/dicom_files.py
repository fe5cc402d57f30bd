"""DICOM files made on the spot, in the transfer syntaxes that archives hold."""

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    generate_uid,
)

# What must not be found in a dataset; a patient's number and a study's UID are columns of the index.
PLANTED = {
    "PatientName": "Plantedname^Jane",
    "PatientBirthDate": "19530412",
    "PatientAddress": "7 Plantedstreet",
    "InstitutionName": "Planted General Hospital",
    "ReferringPhysicianName": "Plantedreferrer^Joe",
    "AccessionNumber": "PLANTED-ACC-77",
    "StudyDescription": "Planted study description",
    "DeviceSerialNumber": "PLANTED-SN-42",
    "ImageComments": "planted comment",
}


def dicom_bytes(
    pixels: np.ndarray,
    *,
    bits: int = 8,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    **tags: object,
) -> bytes:
    """A DICOM file of ``pixels`` (H, W), or (H, W, 3) for color, of ``bits`` stored bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["image"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.PatientID, header.StudyInstanceUID, header.Modality = "MRN-0001", "1.2.826.0.1.77", "DX"
    header.Rows, header.Columns = pixels.shape[:2]
    header.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    header.PhotometricInterpretation = photometric
    if pixels.ndim == 3:
        header.PlanarConfiguration = 0
    header.BitsAllocated = 8 if bits <= 8 else 16
    header.BitsStored, header.HighBit = bits, bits - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    header.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    for name, value in {**PLANTED, **tags}.items():
        setattr(header, name, value)
    private = header.private_block(0x0099, "PLANTED CREATOR", create=True)
    private.add_new(1, "LO", "Planted private value")
    if syntax == JPEGBaseline8Bit:
        encapsulated(header, syntax, _jpeg(pixels))
    elif syntax == JPEGLosslessSV1:
        encapsulated(header, syntax, lossless_jpeg(pixels, bits=bits))
    elif syntax == JPEGExtended12Bit:
        encapsulated(header, syntax, jpeg_12_bit(pixels))
    elif syntax != ExplicitVRLittleEndian:
        header.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def report_bytes() -> bytes:
    """A DICOM file without an image."""
    header = dicom_dataset(dicom_bytes(np.zeros((16, 16), np.uint8)))
    for name in ("PixelData", "Rows", "Columns", "BitsStored"):
        delattr(header, name)
    header.Modality = "DX"
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom_dataset(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def encapsulated(header: Dataset, syntax: str, frame: bytes, *, fragments: int = 1) -> None:
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([frame], fragments_per_frame=fragments)
    header["PixelData"].is_undefined_length = True


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def lossless_jpeg(pixels: np.ndarray, *, bits: int) -> bytes:
    """Lossless JPEG, process 14, selection value 1 (each pixel from its left neighbour), as most archives hold; written
    here because no encoder is at hand. All 17 lengths of differences have codes of 5 bits (ITU T.81, annex H)."""
    left = np.roll(pixels.astype(np.int64), 1, axis=1)
    left[1:, 0] = pixels[:-1, 0]
    left[0, 0] = 1 << bits - 1
    digits = []
    for difference in (pixels - left).ravel().tolist():
        difference = (difference + 32767) % 65536 - 32767
        length = abs(difference).bit_length()
        digits.append(f"{length:05b}")
        if 0 < length < 16:
            digits.append(f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}")
    height, width = pixels.shape
    frame = bytes([bits]) + height.to_bytes(2) + width.to_bytes(2) + bytes([1, 1, 0x11, 0])
    table = bytes([0]) + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    scan = bytes([1, 1, 0, 1, 0, 0])
    return _stream([(0xC3, frame), (0xC4, table), (0xDA, scan)], "".join(digits))


def jpeg_12_bit(pixels: np.ndarray) -> bytes:
    """Lossy JPEG of 12 bits (extended sequential) of an image (H, W), or (H, W, 3) of luminance and chroma, whose
    blocks of 8 x 8 pixels are even: no block has more than its mean, so nothing is lost."""
    height, width = pixels.shape[:2]
    samples = pixels[0, 0].size
    digits, before = [], [0] * samples
    for place, mean in enumerate(pixels[::8, ::8].astype(int).ravel().tolist()):
        difference, before[place % samples] = mean - 2048 - before[place % samples], mean - 2048
        length = abs(difference).bit_length()
        digits.append(f"{length:04b}")
        if length:
            digits.append(f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}")
        digits.append("0")  # end of the block
    parts = b"".join(bytes([number, 0x11, 0]) for number in range(1, samples + 1))
    frame = bytes([12]) + height.to_bytes(2) + width.to_bytes(2) + bytes([samples]) + parts
    steps = bytes([0, 8]) + bytes([1] * 63)
    means = bytes([0]) + bytes([0, 0, 0, 14, *[0] * 12]) + bytes(range(14))
    others = bytes([0x10]) + bytes([1, *[0] * 15]) + bytes([0])
    scan = bytes([samples]) + b"".join(bytes([number, 0]) for number in range(1, samples + 1)) + bytes([0, 63, 0])
    return _stream([(0xDB, steps), (0xC1, frame), (0xC4, means), (0xC4, others), (0xDA, scan)], "".join(digits))


def _stream(segments: list[tuple[int, bytes]], digits: str) -> bytes:
    digits += "1" * (-len(digits) % 8)
    coded = int(digits, 2).to_bytes(len(digits) // 8).replace(b"\xff", b"\xff\x00")
    head = b"".join(bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2) + body for kind, body in segments)
    return b"\xff\xd8" + head + coded + b"\xff\xd9"
