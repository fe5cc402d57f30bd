from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.views import PRESETS, ViewSpec, affines, shift_half_pixel, sigmas, tones
from shards.base.errors import InputError

ROWS = np.arange(200)
SIZES = np.tile([[390, 320]], (200, 1))
GOLD_MATRICES = [
    [[-1.114185243, -0.062026142, 351.908981278], [-0.062026142, 1.114185243, -23.002571628]],
    [[1.022234399, -0.054295093, 5.52170417], [0.054295093, 1.022234399, -87.097225043]],
]
GOLD_GAMMAS = [1.042866, 0.987597, 0.975637, 0.826569, 1.495309]
GOLD_GAINS = [0.013678528, 0.015686275, 0.020902819, 0.020485674, 0.012437871]  # the second keeps its brightness
GOLD_SIGMAS = [1.476298214, 0.0, 1.180082629, 0.0, 0.758401332]
GOLD_TONES = [[0.014238156, -2.143974521], [0.019273814, -1.915010423]]


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
    gain, bias, gamma = tones(plain, ROWS, epoch=0, seed=0, view=0)[0]
    assert gamma == 1
    np.testing.assert_allclose(gain * 255 * 0.7 + bias, (0.7 - 0.4) / 0.2)
    jittered = tones(replace(plain, brightness=0.3, contrast=0.3), ROWS, epoch=0, seed=0, view=0)
    assert jittered[:, 0].std() > 0.05 * gain
    np.testing.assert_allclose(jittered[:, 1] * 0.2 / -0.4, 1.0, atol=0.3)


def test_brightness_and_contrast_apply_together_with_their_probability():
    rows = np.arange(4000)
    plain = ViewSpec(mean=0.4, std=0.2)
    spec = replace(plain, brightness=0.4, contrast=0.4, jitter=0.8)
    neutral = tones(plain, rows, epoch=0, seed=0, view=0)
    drawn = tones(spec, rows, epoch=0, seed=0, view=0)
    contrast = drawn[:, 1] / neutral[:, 1]
    brightness = drawn[:, 0] / neutral[:, 0] / contrast
    applies = (contrast != 1.0) | (np.abs(brightness - 1) > 1e-9)
    assert abs(applies.mean() - 0.8) < 0.02
    for factor in (brightness[applies], contrast[applies]):
        assert factor.min() > 0.6
        assert factor.max() < 1.4
        np.testing.assert_allclose([factor.min(), factor.max(), factor.mean()], [0.6, 1.4, 1.0], atol=0.02)
    assert abs(np.corrcoef(brightness[applies], contrast[applies])[0, 1]) < 0.05
    always = tones(replace(spec, jitter=1.0), rows, epoch=0, seed=0, view=0)
    np.testing.assert_array_equal(always[applies], drawn[applies])
    assert (always != neutral)[:, :2].all()


def test_gamma_is_log_uniform_and_changes_nothing_else():
    rows = np.arange(4000)
    spec = ViewSpec(brightness=0.4, gamma=(0.5, 2.0))
    drawn = tones(spec, rows, epoch=0, seed=0, view=0)
    steps = np.log2(drawn[:, 2])
    assert -1 <= steps.min() < -0.99
    assert 0.99 < steps.max() <= 1
    np.testing.assert_allclose(np.quantile(steps, [0.25, 0.5, 0.75]), [-0.5, 0.0, 0.5], atol=0.05)
    assert abs(np.corrcoef(steps, drawn[:, 0])[0, 1]) < 0.05
    straight = tones(replace(spec, gamma=(1, 1)), rows, epoch=0, seed=0, view=0)
    np.testing.assert_array_equal(drawn[:, :2], straight[:, :2])


def test_blur_has_its_probability_and_range():
    rows = np.arange(4000)
    spec = ViewSpec(blur=0.3, sigma=(0.5, 1.5))
    drawn = sigmas(spec, rows, epoch=0, seed=0, view=0)
    blurred = drawn > 0
    assert drawn.shape == (4000,)
    assert abs(blurred.mean() - 0.3) < 0.02
    assert drawn[blurred].min() >= 0.5
    assert drawn[blurred].max() <= 1.5
    np.testing.assert_allclose(np.quantile(drawn[blurred], [0.25, 0.5, 0.75]), [0.75, 1.0, 1.25], atol=0.06)
    assert (sigmas(replace(spec, blur=1.0), rows, epoch=0, seed=0, view=0) > 0).all()
    assert not sigmas(replace(spec, blur=0.0), rows, epoch=0, seed=0, view=0).any()


def test_nothing_of_a_view_for_evaluation_is_random():
    spec = replace(PRESETS["moco_v2"], fill="edge").evaluation()
    assert (spec.size, spec.fill, spec.mean, spec.std) == (224, "edge", 0.5, 0.25)
    assert not sigmas(spec, ROWS, epoch=0, seed=0, view=0).any()
    for drawn in (matrices(spec), tones(spec, ROWS, epoch=0, seed=0, view=0)):
        assert (drawn == drawn[0]).all()


def test_moco_v2_crops_as_published():
    """Random resized crop of Chen et al. 2020: area .2 to 1, ratio 3/4 to 4/3, on square images."""
    rows, sizes = np.arange(2000), np.tile([[320, 320]], (2000, 1))
    got = matrices(PRESETS["moco_v2"], rows, sizes)
    width, height = 224 / np.linalg.norm(got[:, 0, :2], axis=1), 224 / np.linalg.norm(got[:, 1, :2], axis=1)
    area, ratio = width * height / 320**2, width / height
    assert not got[:, 0, 1].any(), "nothing is turned"
    np.testing.assert_allclose([area.min(), np.median(area)], [0.2, 0.6], atol=0.02)
    assert area.max() <= 1 + 1e-9
    np.testing.assert_allclose([ratio.min(), ratio.max()], [3 / 4, 4 / 3], atol=0.01)
    left = -got[:, 0, 2] * width / 224
    assert (left[got[:, 0, 0] > 0] >= -1e-9).all(), "no crop leaves the image"


def test_each_row_can_be_on_an_epoch_of_its_own():
    spec = PRESETS["moco_v2"]
    rows, epochs = np.array([4, 4, 9, 4]), np.array([0, 3, 3, 1])
    address = {"seed": 6, "view": 1}
    for draw in (
        lambda rows, **where: matrices(spec, rows, SIZES[: len(rows)], **where),
        tones_of(spec),
        blurs_of(spec),
    ):
        together = draw(rows, epoch=epochs, **address)
        alone = [draw(rows[i : i + 1], epoch=int(epochs[i]), **address)[0] for i in range(4)]
        np.testing.assert_array_equal(together, alone)
        np.testing.assert_array_equal(draw(rows, epoch=np.full(4, 2), **address), draw(rows, epoch=2, **address))


def tones_of(spec):
    return lambda rows, **where: tones(spec, rows, **where)


def blurs_of(spec):
    return lambda rows, **where: sigmas(spec, rows, **where)


def test_a_seed_keeps_its_views_from_version_to_version():
    """Numbers of version 0.1: a view that changes would change every run that is repeated or resumed."""
    spec, rows, sizes = PRESETS["crop_contrast"], np.array([0, 123_456]), np.array([[390, 320], [320, 401]])
    address = {"epoch": 2, "seed": 7, "view": 1}
    np.testing.assert_allclose(affines(spec, rows, sizes, **address), GOLD_MATRICES, atol=1e-6)
    np.testing.assert_allclose(tones(spec, rows, **address)[:, :2], GOLD_TONES, atol=1e-6)
    bent = tones(replace(PRESETS["moco_v2"], gamma=(0.5, 2.0)), np.arange(5), **address)
    np.testing.assert_allclose(bent[:, 0], GOLD_GAINS, atol=1e-6)
    np.testing.assert_allclose(bent[:, 2], GOLD_GAMMAS, atol=1e-6)
    np.testing.assert_allclose(sigmas(PRESETS["moco_v2"], np.arange(5), **address), GOLD_SIGMAS, atol=1e-6)


def test_half_pixel_shift_keeps_points():
    matrix = matrices(PRESETS["crop_contrast"])[:1]
    point = np.array([12.5, 40.5])  # the centre of pixel (12, 40)
    there = matrix[0, :, :2] @ point + matrix[0, :, 2]
    shifted = shift_half_pixel(matrix)[0]
    np.testing.assert_allclose(shifted[:, :2] @ (point - 0.5) + shifted[:, 2], there - 0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 4),
        ("rotation", 200),
        ("rotation", -1),
        ("flip", 1.5),
        ("area", (0.9, 0.5)),
        ("area", (0.0, 0.5)),
        ("area", (0.5, 1.1)),
        ("ratio", (0.0, 1.0)),
        ("ratio", (2.0, 1.0)),
        ("translation", 1.1),
        ("brightness", 1.0),
        ("contrast", -0.1),
        ("jitter", 1.1),
        ("jitter", float("nan")),
        ("blur", -0.1),
        ("sigma", (0.0, 1.0)),
        ("sigma", (2.0, 1.0)),
        ("sigma", (1.0, 107.0)),
        ("gamma", (0.0, 1.0)),
        ("gamma", (1.5, 0.7)),
        ("small_crops", -1),
        ("small_size", 4),
        ("small_area", (0.5, 0.25)),
        ("fill", 256),
        ("fill", -1),
        ("fill", "black"),
        ("fill", 0.5),
        ("mean", 127.0),
        ("std", 0.0),
    ],
)
def test_ranges_out_of_bounds_are_named(field, value):
    with pytest.raises(InputError, match=f"views.{field} .*: (out of range; )?give "):
        ViewSpec(**{field: value})


def test_every_field_is_checked():
    """The cases above leave out no field but the switch."""
    (cases,) = (mark.args[1] for mark in test_ranges_out_of_bounds_are_named.pytestmark)
    assert {field for field, _ in cases} == {field.name for field in fields(ViewSpec)} - {"random_position"}
