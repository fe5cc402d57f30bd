import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.engines.warps import (
    _tell_of_opencv,
    blur_window,
    make_views,
    make_views_kornia,
    shift_half_pixel,
    to_pixels,
)
from pipeline.views import PRESETS, ViewSpec, affines, sigmas
from tests.conftest import ROOT

SIZE = 48
SHAPES = [(64, 64), (56, 90), (75, 41)]
SPECS = {
    "identity of the largest square": ViewSpec(size=SIZE),
    "flip": ViewSpec(size=SIZE, flip=1.0),
    "rotation": ViewSpec(size=SIZE, rotation=90.0, flip=0.5),
    "upscaling": ViewSpec(size=SIZE, area=(0.1, 0.2), ratio=(0.7, 1.4), random_position=True),
    "over the border": ViewSpec(size=SIZE, rotation=30.0, translation=0.6),
    "all at once": ViewSpec(size=SIZE, rotation=15.0, flip=0.5, area=(0.3, 1.0), ratio=(0.75, 1.33), translation=0.2),
}


def image(shape, seed=0):
    """Smooth levels with some noise, (H, W) uint8."""
    noise = np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)
    return np.clip(2.5 * (cv2.GaussianBlur(noise, (0, 0), 2.0) - 127) + 127, 0, 255).astype(np.uint8)


def compiled(pixels, matrix, *, fill, sigma=0.0, gain=1.0, bias=0.0, gamma=1.0):
    out = np.full((1, SIZE, SIZE), np.nan, dtype=np.float32)
    tones = np.array([[gain, bias, gamma]])
    make_views(pixels, to_pixels(matrix[None]), out, fill=fill, tones=tones, sigmas=np.array([sigma]))
    return out[0]


def kornia(pixels, matrix, *, fill, sigma=0.0, gain=1.0, bias=0.0, gamma=1.0):
    return make_views_kornia(
        torch.from_numpy(pixels)[None, None].float(),
        torch.from_numpy(shift_half_pixel(matrix))[None].float(),
        size=SIZE,
        fill=fill,
        sigmas=torch.tensor([sigma]),
        tones=torch.tensor([[gain, bias]]),
        gammas=None if gamma == 1 else torch.tensor([gamma]),
    )[0, 0].numpy()


@pytest.mark.parametrize("make_view", [compiled, kornia])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.7, 2.0])
@pytest.mark.parametrize("fill", [0, 200, "edge"])
@pytest.mark.parametrize("name", SPECS)
def test_views_match_the_reference(make_view, name, fill, sigma, warp_reference, blur_reference):
    for i, (height, width) in enumerate(SHAPES):
        pixels = image((height, width), i)
        sizes = np.array([[width, height]])
        matrix = affines(SPECS[name], np.array([i]), sizes, epoch=0, seed=1, view=0)[0]
        expected = 0.02 * blur_reference(warp_reference(pixels, matrix, SIZE, fill), sigma) - 1.5
        got = make_view(pixels, matrix, fill=fill, sigma=sigma, gain=0.02, bias=-1.5)
        difference = np.abs(got - expected) / 0.02
        assert difference.mean() < 0.1, "of 255 grey levels"
        assert difference.max() < 12, "nothing is shifted or left out, not at the border either"


@pytest.mark.parametrize("make_view", [compiled, kornia])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
@pytest.mark.parametrize("gamma", [0.5, 1.7])
@pytest.mark.parametrize("fill", [0, 200])
def test_gamma_is_a_power_of_the_share_of_white(make_view, fill, gamma, sigma):
    """Behind the blur and before gain and bias; black and white stay."""
    pixels = image((60, 80))
    matrix = affines(SPECS["over the border"], np.array([0]), np.array([[80, 60]]), epoch=0, seed=0, view=0)[0]
    grey = make_view(pixels, matrix, fill=fill, sigma=sigma)
    got = make_view(pixels, matrix, fill=fill, sigma=sigma, gain=0.02, bias=-1.5, gamma=gamma)
    np.testing.assert_allclose(got, 0.02 * 255 * (grey.clip(0) / 255) ** gamma - 1.5, atol=2e-3)
    assert np.abs(got - (0.02 * grey - 1.5)).mean() > 0.1


@pytest.mark.parametrize("make_view", [compiled, kornia])
def test_downscaling_takes_the_pixels_that_the_matrix_says(make_view, warp_reference):
    pixels = image((200, 160))
    matrix = affines(ViewSpec(size=SIZE), np.array([0]), np.array([[160, 200]]), epoch=0, seed=0, view=0)[0]
    np.testing.assert_allclose(make_view(pixels, matrix, fill=0), warp_reference(pixels, matrix, SIZE), atol=2.0)


@pytest.mark.parametrize("make_view", [compiled, kornia])
def test_a_flip_is_a_mirror_image(make_view):
    pixels = image((64, 64))
    plain, flipped = (
        make_view(pixels, affines(SPECS[name], np.array([0]), np.array([[64, 64]]), epoch=0, seed=0, view=0)[0], fill=0)
        for name in ("identity of the largest square", "flip")
    )
    np.testing.assert_allclose(flipped, plain[:, ::-1], atol=0.01)
    assert np.abs(flipped - plain).mean() > 5


@pytest.mark.parametrize("make_view", [compiled, kornia])
def test_what_lies_outside_is_filled(make_view):
    pixels = np.full((64, 64), 100, dtype=np.uint8)
    pixels[:, 0] = 50
    aside = np.array([[1.0, 0, 20], [0, 1.0, 0]])
    np.testing.assert_allclose(make_view(pixels, aside, fill=200)[:, :19], 200, atol=0.01)
    np.testing.assert_allclose(make_view(pixels, aside, fill="edge")[:, :19], 50, atol=0.01)
    np.testing.assert_allclose(make_view(pixels, aside, fill=200)[:, 22:], 100, atol=0.01)


def test_a_batch_of_kornia_views_is_each_row_alone():
    """Rows with and without blur, also of sigmas whose windows differ; those without come out untouched."""
    spec = ViewSpec(size=SIZE, rotation=20, flip=0.5, area=(0.5, 1), random_position=True)
    images = torch.stack([torch.from_numpy(image((64, 64), i)) for i in range(4)])[:, None].float()
    sizes = np.tile([[64, 64]], (4, 1))
    matrices = torch.from_numpy(shift_half_pixel(affines(spec, np.arange(4), sizes, epoch=0, seed=0, view=0))).float()
    tones = torch.tensor([[0.01, -1.0], [0.02, 0.5], [0.01, 0.0], [0.03, 1.0]])

    def views(sigmas, rows=slice(None)):
        return make_views_kornia(images[rows], matrices[rows], size=SIZE, fill=9, sigmas=sigmas, tones=tones[rows])

    blurred = views(torch.tensor([0.0, 1.5, 0.0, 0.4], dtype=torch.float64))
    plain = views(None)
    assert blurred.shape == (4, 1, SIZE, SIZE)
    assert blurred.dtype == torch.float32
    assert torch.equal(blurred[[0, 2]], plain[[0, 2]])
    assert torch.equal(views(torch.zeros(4)), plain)
    for row, sigma in ((1, 1.5), (3, 0.4)):
        alone = views(torch.tensor([sigma]), slice(row, row + 1))
        assert (blurred[row] - alone[0]).abs().max() < 0.01
        assert (blurred[row] - plain[row]).abs().max() > 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (3, 500), (17, 18), (33, 1000)])
@pytest.mark.parametrize("fill", [0, 200, "edge"])
def test_images_of_any_shape_match_the_reference(shape, fill, warp_reference):
    """Also narrower than what the kernel takes at a time."""
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    height, width = shape
    for angle, scale in ((0.0, 1.0), (0.2, 0.5), (1.5, 3.0), (np.pi, 1.0)):
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = SIZE / 2 - turn @ [width / 2 + 0.3, height / 2 - 0.2]
        matrix = np.concatenate([turn, shift[:, None]], axis=1)
        difference = np.abs(compiled(pixels, matrix, fill=fill) - warp_reference(pixels, matrix, SIZE, fill))
        assert difference.max() < 0.05, (angle, scale)


def test_a_large_image_matches_the_reference(warp_reference):
    pixels = np.random.default_rng(3).integers(0, 256, (40, 9000), dtype=np.uint8)
    for left in (0, 4000, 9000 - SIZE):
        matrix = np.array([[1.0, 0, -left - 0.25], [0, 1.0, 0.5]])
        np.testing.assert_allclose(
            compiled(pixels, matrix, fill=0), warp_reference(pixels, matrix, SIZE), atol=0.3, err_msg=str(left)
        )


def test_inverses_undo_what_matrices_do():
    matrices = affines(PRESETS["moco_v2"], np.arange(6), np.tile([[390, 320]], (6, 1)), epoch=0, seed=0, view=0)
    shifted, back = shift_half_pixel(matrices), to_pixels(matrices)
    points = np.array([[3.0, 4.0], [200.0, 17.0]])
    there = np.einsum("bij,pj->bpi", shifted[..., :2], points) + shifted[:, None, :, 2]
    again = np.einsum("bij,bpj->bpi", back[..., :2], there) + back[:, None, :, 2]
    np.testing.assert_allclose(again, np.broadcast_to(points, again.shape), atol=1e-9)


def test_several_views_are_each_alone_and_lie_where_they_are_told():
    pixels, spec = image((60, 80)), SPECS["all at once"]
    batch = np.full((3, 4, SIZE, SIZE), np.nan, dtype=np.float32)
    matrices = np.stack(
        [affines(spec, np.array([0]), np.array([[80, 60]]), epoch=0, seed=0, view=view)[0] for view in range(3)]
    )
    tones = np.array([[1.0, 0.0, 1.0], [0.02, -1.0, 0.7], [0.5, 3.0, 1.0]])
    blurs = np.array([0.0, 0.8, 0.0])
    make_views(pixels, to_pixels(matrices), batch[:, 2], fill=9, tones=tones, sigmas=blurs)
    for view in range(3):
        gain, bias, gamma = tones[view]
        alone = compiled(pixels, matrices[view], fill=9, sigma=blurs[view], gain=gain, bias=bias, gamma=gamma)
        np.testing.assert_array_equal(batch[view, 2], alone)
    assert np.isnan(batch[:, [0, 1, 3]]).all()
    np.testing.assert_array_equal(tones[1], [0.02, -1.0, 0.7])


def test_threads_do_not_get_into_each_others_way():
    images = [image((64, 64), i) for i in range(32)]
    matrix = np.array([[0.7, 0.1, 3], [-0.1, 0.7, 2]])
    expected = [compiled(pixels, matrix, fill=0) for pixels in images]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda pixels: compiled(pixels, matrix, fill=0), images * 8))
    for i, view in enumerate(got):
        np.testing.assert_array_equal(view, expected[i % 32])


def test_the_largest_blur_that_a_spec_allows_fits_the_view():
    spec = ViewSpec(size=16, blur=1.0, sigma=(4.9, 5.0))
    drawn = sigmas(spec, np.arange(3), epoch=0, seed=0, view=0)
    assert blur_window(5.0) // 2 == 15
    sizes = np.tile([[64, 64]], (3, 1))
    matrices = torch.from_numpy(shift_half_pixel(affines(spec, np.arange(3), sizes, epoch=0, seed=0, view=0)))
    images = torch.rand(3, 1, 64, 64) * 255
    tones = torch.tensor([[1.0, 0.0]]).expand(3, 2)
    views = make_views_kornia(images, matrices.float(), size=16, fill=0, sigmas=torch.from_numpy(drawn), tones=tones)
    assert views.isfinite().all()


def test_half_pixel_shift_keeps_points():
    matrix = affines(PRESETS["crop_contrast"], np.array([3]), np.array([[390, 320]]), epoch=0, seed=0, view=0)
    point = np.array([12.5, 40.5])  # the centre of pixel (12, 40)
    there = matrix[0, :, :2] @ point + matrix[0, :, 2]
    shifted = shift_half_pixel(matrix)[0]
    np.testing.assert_allclose(shifted[:, :2] @ (point - 0.5) + shifted[:, 2], there - 0.5)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.parametrize("turns", [5000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_no_matrix_and_no_size_leaves_the_memory_of_the_image(turns, tmp_path):
    sanitized = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = tmp_path / "hostile"
    source = Path(__file__).with_name("hostile.c")
    subprocess.run(
        ["cc", *sanitized, f"-I{ROOT / 'pipeline/engines'}", str(source), "-o", str(program), "-lm"], check=True
    )
    done = subprocess.run([str(program), str(turns)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{turns} turns\n"), done.stderr


@pytest.mark.parametrize("fill", [0, 200, "edge"])
@pytest.mark.parametrize("name", SPECS)
def test_without_a_compiler_opencv_makes_the_same_views(name, fill, monkeypatch, capsys):
    """But for its steps of a 32nd of a pixel."""
    pixels = image((56, 90))
    matrix = affines(SPECS[name], np.array([3]), np.array([[90, 56]]), epoch=0, seed=1, view=0)[0]
    ours = compiled(pixels, matrix, fill=fill, sigma=0.7, gain=0.5, bias=2.0)
    monkeypatch.setattr("pipeline.engines.warps._make_views", None)
    _tell_of_opencv.cache_clear()
    theirs = [compiled(pixels, matrix, fill=fill, sigma=0.7, gain=0.5, bias=2.0) for _ in range(2)]
    assert np.abs(theirs[0] - ours).max() < 2.0
    np.testing.assert_array_equal(*theirs)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: pipeline/engines/affine.c is not compiled, and OpenCV warps the views instead")
    assert line.endswith("with a C compiler: make install"), "as in a clone"
    assert np.isfinite(compiled(pixels, np.full((2, 3), np.nan), fill=fill)).all()
