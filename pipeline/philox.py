"""Counter-based random numbers: what is drawn for a view depends on its address alone.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised over rows. The
address (seed, epoch, row, view) is the counter and key, so no stream has to be kept, split or restored.
"""

import numpy as np
import numpy.typing as npt

Epochs = int | npt.NDArray[np.int64]
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


def philox4x32(counter: npt.NDArray[np.uint64], key: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Four 32-bit words for each counter.

    Args:
        counter: (B, 4), values below 2**32.
        key: two 32-bit words.

    Returns:
        (B, 4) words.
    """
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (p1 >> _HALF) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _HALF) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniforms(
    rows: npt.NDArray[np.int64], *, seed: int, epoch: Epochs, view: int, num_draws: int
) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1), (B, num_draws), addressed by (seed, epoch, row, view).

    ``num_draws`` may grow without changing the first draws of an address. ``epoch`` is that of all rows, or (B,).
    """
    num_blocks = -(-num_draws // 4)
    counter = np.empty((len(rows), num_blocks, 4), dtype=np.uint64)
    counter[:, :, 0] = (rows.astype(np.uint64) & _LOW)[:, None]
    counter[:, :, 1] = (rows.astype(np.uint64) >> _HALF)[:, None]
    counter[:, :, 2] = np.reshape(epoch, (-1, 1))
    counter[:, :, 3] = view << 16 | np.arange(num_blocks)
    words = philox4x32(counter.reshape(-1, 4), (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    return words.reshape(len(rows), 4 * num_blocks)[:, :num_draws].astype(np.float64) * 2.0**-32
