from dataclasses import replace

import pytest

from shards.sources.record import Record
from shards.sources.rows.repeated import difference, once_each, united

ONE = Record(key="a", name="a.png", source_path="a.png", split="train", patient_id="p", study_id="s", labels={"x": 1})


@pytest.mark.parametrize(
    ("several", "found"),
    [
        ([{"x": 0}, {"x": 1}, {"x": -1}], {"x": 1}),
        ([{"x": 0}, {"x": -1}], {"x": -1}),
        ([{}, {"x": 0}], {"x": 0}),
        ([{"x": 1}, {"y": 1}, {"x": 0, "y": 0}], {"x": 1, "y": 1}),
        ([{"x": -2}, {"x": 0}], {"x": 0}),
    ],
)
def test_what_any_row_says(several, found):
    assert united(several) == found


def test_differences_in_words():
    assert difference(ONE, replace(ONE)) is None
    assert difference(ONE, replace(ONE, labels={})) == "x is 1 and blank"
    assert difference(ONE, replace(ONE, age=3.0)) == "age is blank and 3.0"


def test_each_image_once():
    other = replace(ONE, key="b", name="b.png", source_path="b.png")
    assert once_each([ONE, other, ONE]) == ([ONE, other], [], ["1 rows repeat another word for word and were left out"])
    kept, rejected, notes = once_each([ONE, other, replace(ONE, labels={"x": 0})])
    assert (kept, [row.reason for row in rejected], notes) == ([other], ["duplicate"], [])
    kept, rejected, notes = once_each([ONE, replace(ONE, labels={"x": 0})], unite=True)
    assert (kept, rejected) == ([ONE], [])
    assert notes == ["1 images have several rows, whose findings were united"]
