"""Boxes against the same rectangles drawn into pictures that are then resized and cut."""

import io

import numpy as np
import pytest
from PIL import Image

from shards.format.boxes import Box, BoxesOutside, Frame
from shards.images.store import ImageSpec, store_image
from tests.shards.images.pictures import encoded


@pytest.mark.parametrize("is_square", [False, True])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300)])
def test_boxes_go_where_their_pixels_go(width, height, is_square):
    pixels = np.zeros((height, width), np.uint8)
    box = Box("Mass", 110, 90, 50, 70, "R1")
    pixels[90:160, 110:160] = 255
    stored = store_image(encoded(Image.fromarray(pixels)), ImageSpec(size=100, square=is_square, format="png"))
    frame = Frame(given=(width, height), stored=(stored.width, stored.height), is_square=is_square)
    (placed,) = frame.place([box])
    seen = np.asarray(Image.open(io.BytesIO(stored.data))) > 127
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert placed.x == pytest.approx(columns[0], abs=0.6)
    assert placed.y == pytest.approx(rows[0], abs=0.6)
    assert placed.x + placed.width == pytest.approx(columns[-1] + 1, abs=0.6)
    assert placed.y + placed.height == pytest.approx(rows[-1] + 1, abs=0.6)
    assert (placed.label, placed.reader) == ("Mass", "R1")


def test_a_slip_of_the_hand_is_cut_and_what_a_square_leaves_out_goes():
    frame = Frame(given=(200, 100), stored=(100, 50))
    assert frame.place([Box("a", -2, 90, 20, 11)]) == [Box("a", 0, 45, 9, 5)]
    square = Frame(given=(200, 100), stored=(50, 50), is_square=True)
    assert square.place([Box("left", 0, 0, 49, 100), Box("half", 0, 0, 100, 100)]) == [Box("half", 0, 0, 25, 50)]


@pytest.mark.parametrize("box", [Box("a", 150, 10, 100, 20), Box("a", 10, 95, 5, 20), Box("a", -9, 0, 20, 20)])
def test_boxes_of_a_larger_picture_are_refused(box):
    with pytest.raises(BoxesOutside, match=r"200 x 100 pixels; is this a resized copy\?"):
        Frame(given=(200, 100), stored=(100, 50)).place([box])
