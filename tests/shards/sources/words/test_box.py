import pytest

from shards.format.boxes import Box
from shards.sources.words.box import parse_box


def test_boxes_by_size_and_by_corners():
    assert parse_box("Mass", ["1.5", "2", "30", "40"], reader="R1") == Box("Mass", 1.5, 2, 30, 40, "R1")
    assert parse_box("Mass", ["1.5", "2", "30", "40"], by_corners=True) == Box("Mass", 1.5, 2, 28.5, 38)


@pytest.mark.parametrize("numbers", [["1", "2", "3"], ["", "", "", ""], ["1", "2", "0", "5"], ["1", "2", "nan", "5"]])
def test_what_encloses_nothing_is_no_box(numbers):
    assert parse_box("Mass", numbers) is None


def test_corners_in_the_wrong_order_are_no_box():
    assert parse_box("Mass", ["10", "2", "5", "40"], by_corners=True) is None
