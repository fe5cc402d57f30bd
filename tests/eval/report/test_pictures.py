"""Pictures are in the order asked for, as the encoder sees them, and readable again from the page."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from eval.report.pictures import data_uri, gray, load_views, overlay
from pipeline.views import ViewSpec
from shards.index import ShardIndex


def test_views_come_in_the_order_of_the_selection(packed: Path) -> None:
    index = ShardIndex.open(packed)
    spec = ViewSpec(size=32, mean=0.4, std=0.2)
    views = load_views(index.take(np.array([7, 2, 40])), spec)
    alone = load_views(index.take(np.array([2])), spec)
    assert views.shape == (3, 1, 32, 32)
    np.testing.assert_array_equal(views[1], alone[0])
    stored = np.asarray(Image.open(io.BytesIO(index.read(2))))
    assert abs(float(gray(alone, spec).mean()) - float(stored[:, 4:36].mean())) < 2  # normalisation undone


def test_overlay_is_warm_for_and_cold_against_and_nothing_at_zero() -> None:
    pixels = np.full((1, 3), 100, dtype=np.uint8)
    warm, none, cold = overlay(pixels, np.array([[1.0, 0.0, -1.0]], dtype=np.float32))[0].astype(int)
    assert warm[0] > 100 > warm[2]
    assert none.tolist() == [100, 100, 100]
    assert cold[2] > 100 > cold[0]


def test_data_uri_holds_the_picture_at_most_so_large() -> None:
    uri = data_uri(np.full((100, 50), 77, dtype=np.uint8), side=40)
    kind, encoded = uri.split(",")
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert kind == "data:image/jpeg;base64"
    assert image.size == (20, 40)
    assert abs(float(np.asarray(image).mean()) - 77) < 2
