"""Random generators by address: what for, and which seed, epoch or draw."""

import zlib

import numpy as np


def generator(purpose: str, *address: int) -> np.random.Generator:
    """A generator that depends on the purpose (a word) and the address (non-negative integers) alone, so that two uses
    of one seed never draw the same numbers."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([zlib.crc32(purpose.encode()), *address])))
