import numpy as np
import pytest

from shards.sources.words.mask import mask_box


def runs(mask):
    """A mask as run lengths, the slow way: column by column, each run after the end of the last."""
    text, skipped, length = [], 0, 0
    for pixel in [*mask.T.ravel().tolist(), False]:
        if pixel:
            length += 1
        elif length:
            text += [str(skipped), str(length)]
            skipped, length = 1, 0
        else:
            skipped += 1
    return " ".join(text)


@pytest.mark.parametrize("seed", range(6))
def test_the_box_is_that_of_the_pixels(seed):
    generator = np.random.default_rng(seed)
    mask = np.zeros((16, 16), bool)
    mask[2:7, 3:12] = generator.random((5, 9)) < 0.4
    mask[:, 14] = seed == 3
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask_box("a", runs(mask), side=16)
    assert box[1:5] == (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)


def test_a_run_that_goes_on_in_the_next_column_touches_both_edges():
    assert mask_box("a", "14 4", side=16)[1:5] == (0, 0, 2, 16)


@pytest.mark.parametrize("text", ["1", "1 x", "-5 3", "1 300", "4 0", "1.5 2"])
def test_what_is_no_mask(text):
    assert mask_box("a", text, side=16) is None
