"""The drawing sheet and the film: curves, widths, depths, and brightness that follows attenuation."""

import numpy as np
import pytest

from shards.phantom.canvas import Canvas, ribbon, smooth_curve
from shards.phantom.film import draw_exposure, expose


@pytest.fixture
def canvas() -> Canvas:
    return Canvas(height=120, width=160, matrix=np.array([[6, 0, 80], [0, 6, 60]], np.float32))


def test_smooth_curve_passes_through_its_knots() -> None:
    knots = np.array([[0, 0], [1, 3], [4, 4], [6, 0]], np.float32)
    assert np.allclose(smooth_curve(knots, num_steps=5)[::5], knots)
    assert np.allclose(smooth_curve(knots, num_steps=5, closed=True)[::5], knots)


def test_ribbon_is_as_wide_as_asked() -> None:
    line = np.stack([np.linspace(0, 3, 7), np.linspace(0, 4, 7)], axis=1).astype(np.float32)
    outline = ribbon(line, 0.5)
    assert np.allclose(np.linalg.norm(outline[:7] - outline[7:][::-1], axis=1), 0.5, atol=1e-5)
    assert np.allclose(0.5 * (outline[:7] + outline[7:][::-1]), line, atol=1e-5)


def test_grid_inverts_the_placement(canvas: Canvas) -> None:
    x, y = canvas.grid(1)
    assert x[60, 80] == pytest.approx(0, abs=1e-5)
    assert y[66, 80] == pytest.approx(1, abs=1e-5)
    assert x[60, 86] == pytest.approx(1, abs=1e-5)


def test_depth_rises_from_the_edge_inwards(canvas: Canvas) -> None:
    square = np.array([[-6, -6], [6, -6], [6, 6], [-6, 6]], np.float32)
    depth = canvas.depth_inside(square, step=1, rim_cm=4)
    assert depth[60, 5] == 0
    assert depth[60, 80] == pytest.approx(1)
    assert 0.2 < depth[60, 50] < depth[60, 60] <= 1


def test_film_is_brighter_where_less_passes_and_the_exposure_is_automatic(canvas: Canvas) -> None:
    rng = np.random.default_rng(0)
    exposure = draw_exposure(rng, "PA")
    ramp = np.broadcast_to(np.linspace(1, 4, canvas.width, dtype=np.float32), (canvas.height, canvas.width)).copy()
    thin, thick = (
        expose(ramp + added, exposure, canvas=canvas, rng=np.random.default_rng(1)).astype(float)
        for added in (np.float32(0), np.float32(0.5))
    )
    columns = thin[:, 10:-10].mean(axis=0)
    assert columns[-1] > columns[0] + 60
    assert np.all(np.diff(columns[::20]) > -1)
    # Half a neper more everywhere would move a fixed window by a fifth of the scale.
    assert abs(thick.mean() - thin.mean()) < 16
