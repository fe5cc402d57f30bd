"""What the first bytes of a file tell: whether it is a DICOM file, and where its elements begin; and which of those are
radiographs. Free of pydicom."""

import numpy as np

SNIFFED = 144  # bytes that tell a DICOM file
PREFIX = b"DICM"
# Computed, digital and scanned radiography; what other devices make is not a chest X-ray.
MODALITIES = ("", "CR", "DX", "DR", "RG", "OT", "SC")
_FIRST_GROUPS = (2, 8)
_LAST_FIRST = 0x18  # no file begins with a later element of these groups
_VR = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT OB OF OW PN SH SL SQ SS ST TM UI UL UN UR US UT".split())


def is_dicom(data: bytes) -> bool:
    """Whether these bytes (the first ``SNIFFED`` will do) begin as a DICOM file does: with the preamble, or, as old
    archives write them, at once with the first element."""
    if data[128:132] == PREFIX or data[:4] == PREFIX:
        return True
    data = without_preamble(data)
    if len(data) < 16:
        return False
    group, element = np.frombuffer(data[:4], "<u2").tolist()
    if group in _FIRST_GROUPS and element <= _LAST_FIRST:
        length = int.from_bytes(data[4:8], "little")  # where no type stands before it
        return data[4:6] in _VR or 0 < length <= 64
    group, element = np.frombuffer(data[:4], ">u2").tolist()
    return group in _FIRST_GROUPS and element <= _LAST_FIRST and data[4:6] in _VR


def without_preamble(data: bytes) -> bytes:
    """A file from its first element on, if its preamble or the letters after it are missing."""
    if data[128:132] == PREFIX:
        return data
    if data[:4] == PREFIX:
        return data[4:]
    return data[128:] if not any(data[:128]) else data
