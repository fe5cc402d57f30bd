"""Maps that look at a patch, and boxes around that patch or elsewhere, through views that are cut and scaled."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.report.pointing import boxed, pointing, stored_maxima
from pipeline.views import ViewSpec, affines
from shards.format.boxes import Box, as_rows
from shards.format.schema import index_schema, table_from_rows
from shards.index import ShardIndex

SPEC = ViewSpec(size=64)


@pytest.fixture
def images(tmp_path):
    """Ten images of 200 x 100 pixels, the first eight with a box of the finding, two of them of one patient."""
    rows = []
    for number in range(10):
        boxes = None if number == 9 else () if number == 8 else (Box("Mass", 100, 40, 20, 20), Box("Other", 0, 0, 9, 9))
        about = {"key": f"k{number}", "patient_id": f"p{min(number, 6)}", "dataset": "made", "split": "test"}
        place = {"shard": "a.tar", "offset": 0, "length": 1, "crc32": 0, "width": 200, "height": 100}
        rows.append(about | place | {"boxes": as_rows(boxes), "Mass": 1})
    schema = index_schema(["Mass"], texts=(), has_boxes=True)
    pq.write_table(table_from_rows(rows, schema), tmp_path / "index.parquet")
    about = {"format_version": 1, "labels": ["Mass"], "fingerprint": "m", "image": {"format": "png"}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    return ShardIndex.open(tmp_path)


def map_at(x, y, side=16):
    """A map of the view's largest square, (side, side), with its maximum at a stored pixel of 200 x 100."""
    cells = np.zeros((side, side), np.float32)
    cells[int(y / 100 * side), int((x - 50) / 100 * side)] = 1
    return cells


def test_only_boxes_of_the_finding_count(images):
    places, boxes = boxed(images, "Mass")
    assert places.tolist() == list(range(8))
    assert set(boxes) == {(Box("Mass", 100, 40, 20, 20),)}


def test_maxima_are_found_in_stored_pixels(images):
    matrices = affines(SPEC.evaluation(), images.rows, images.sizes(), epoch=0, seed=0, view=0)
    points = [(52, 3), (110, 50), (147, 97)]
    found = stored_maxima(np.stack([map_at(*point) for point in points]), matrices[:3], SPEC.size)
    np.testing.assert_allclose(found, points, atol=100 / 16)


def test_the_share_that_points_into_a_box(images):
    places, boxes = boxed(images, "Mass")
    maps = np.stack([map_at(110, 50)] * 6 + [map_at(60, 90)] * 2)
    found = pointing(images.take(places), boxes, maps, SPEC, label="Mass", level=0.95, seed=0)
    assert found is not None
    assert (found.num_images, found.hits.estimate) == (8, pytest.approx(0.75))
    assert found.hits.low < 0.75 < found.hits.high
    assert found.chance == pytest.approx(0.04, abs=0.01), "20 x 20 of 100 x 100 pixels"
    assert "in a box of Mass in 75 % [" in found.in_words(0.95)
    assert pointing(images.take([]), [], maps[:0], SPEC, label="Mass", level=0.95, seed=0) is None
