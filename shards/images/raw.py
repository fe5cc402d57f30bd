"""Raw pixels without a header, of the one release that has them: JSRT's films of 2048 x 2048 pixels.

Numbers of 12 bits, stored as big-endian ones of 16, white at 0 (Shiraishi et al., AJR 2000). Nothing in such a file
says what it is, so it is known by its size and by its four upper bits, which are 0 everywhere.
"""

import numpy as np

SIDE = 2048
NUM_BYTES = 2 * SIDE * SIDE
_TOP = 4095


def is_raw(data: bytes) -> bool:
    """Whether these bytes can be such a film."""
    return len(data) == NUM_BYTES and int(np.frombuffer(data, dtype=">u2").max()) <= _TOP


def decode_raw(data: bytes) -> np.ndarray:
    """The film, (2048, 2048), as uint16 of 12 bits, black at 0."""
    return (_TOP - np.frombuffer(data, dtype=">u2").reshape(SIDE, SIDE)).astype(np.uint16)
