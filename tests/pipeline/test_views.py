from dataclasses import replace

import numpy as np
import pytest

from pipeline.views import PRESETS, ViewSpec, affines, shift_half_pixel, tones
from shards.errors import InputError

ROWS = np.arange(200)
SIZES = np.tile([[390, 320]], (200, 1))


def matrices(spec, rows=ROWS, sizes=SIZES, epoch=0, seed=0, view=0):
    return affines(spec, rows, sizes, epoch=epoch, seed=seed, view=view)


def test_evaluation_is_the_largest_centred_square():
    matrix = matrices(ViewSpec(size=160).evaluation())[0]
    # x: 390 wide, square of 320 from 35; 320 -> 160
    np.testing.assert_allclose(matrix, [[0.5, 0, -17.5], [0, 0.5, 0]])


def test_affine_by_its_matrices():
    """The composed affine against flip, rotation, crop and scale multiplied out one by one."""
    spec = ViewSpec(size=96, rotation=15, flip=0.5, area=(0.5, 1), ratio=(0.8, 1.25), random_position=True)
    got = matrices(spec)
    from pipeline.philox import uniforms

    draws = uniforms(ROWS, seed=0, epoch=0, view=0, num_draws=10)
    for i in range(20):
        angle = np.deg2rad(15) * (2 * draws[i, 0] - 1)
        flip = np.diag([-1.0 if draws[i, 1] < 0.5 else 1.0, 1.0, 1.0])
        rotate = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        side = 320 * np.sqrt(0.5 + 0.5 * draws[i, 2])
        ratio = 0.8 * (1.25 / 0.8) ** draws[i, 3]
        width, height = side * np.sqrt(ratio), min(side / np.sqrt(ratio), 320)
        centre = shift(-195, -160)
        crop = shift(-draws[i, 4] * (390 - width), -draws[i, 5] * (320 - height))
        expected = np.diag([96 / width, 96 / height, 1]) @ crop @ np.linalg.inv(centre) @ rotate @ flip @ centre
        np.testing.assert_allclose(got[i], expected[:2], atol=1e-9)


def shift(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def test_published_views_keep_scale_and_stay_within_ten_degrees():
    got = matrices(PRESETS["moco_cxr"])
    scale = np.sqrt(np.abs(np.linalg.det(got[:, :, :2])))
    np.testing.assert_allclose(scale, 1.0)
    assert (np.abs(np.rad2deg(np.arcsin(got[:, 0, 1]))) <= 10).all()
    flipped = np.linalg.det(got[:, :, :2]) < 0
    assert 0.35 < flipped.mean() < 0.65


def test_views_of_a_row_differ_and_do_not_depend_on_the_batch():
    spec = PRESETS["crop_contrast"]
    assert not np.allclose(matrices(spec, view=0)[0], matrices(spec, view=1)[0])
    np.testing.assert_array_equal(matrices(spec)[7:9], matrices(spec, rows=ROWS[7:9], sizes=SIZES[7:9]))


def test_tones_normalise():
    plain = ViewSpec(mean=0.4, std=0.2)
    gain, bias = tones(plain, ROWS, epoch=0, seed=0, view=0)[0]
    np.testing.assert_allclose(gain * 255 * 0.7 + bias, (0.7 - 0.4) / 0.2)
    jittered = tones(replace(plain, brightness=0.3, contrast=0.3), ROWS, epoch=0, seed=0, view=0)
    assert jittered[:, 0].std() > 0.05 * gain
    np.testing.assert_allclose(jittered[:, 1] * 0.2 / -0.4, 1.0, atol=0.3)


def test_half_pixel_shift_keeps_points():
    matrix = matrices(PRESETS["crop_contrast"])[:1]
    point = np.array([12.5, 40.5])  # the centre of pixel (12, 40)
    there = matrix[0, :, :2] @ point + matrix[0, :, 2]
    shifted = shift_half_pixel(matrix)[0]
    np.testing.assert_allclose(shifted[:, :2] @ (point - 0.5) + shifted[:, 2], there - 0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 4), ("rotation", 200), ("flip", 1.5), ("area", (0.9, 0.5)), ("std", 0.0), ("fill", 256)],
)
def test_ranges_out_of_bounds_are_named(field, value):
    with pytest.raises(InputError, match=f"views.{field}"):
        ViewSpec(**{field: value})
