"""The warp alone: two views of images that are decoded already, by each library that could make them, in one thread.

All but torchvision's take the same matrices, and a remark says which disagree; torchvision has no warp by a matrix on
the CPU that is public, so it gets steps that come to as much, with the crop at the centre.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import kornia_rs
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from benchmarks.loader.feeds import Setting
from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from pipeline.engines.pixels import Pixels
from pipeline.engines.samples import decode_gray
from pipeline.engines.warps import make_views, make_views_kornia, shift_half_pixel, to_pixels
from pipeline.plan import plan_batch

_TOLERANCE = 1.0  # grey levels, mean absolute difference from the first, borders included


def compare_warps(setting: Setting, *, num_images: int, turns: int) -> Comparison:
    """Times the libraries on the first images of one size, from decoded pixels to normalised float views."""
    index = setting.index()
    sizes = index.sizes()
    of_one_size = np.flatnonzero((sizes == sizes[0]).all(axis=1))[:num_images]
    rows = index.rows[of_one_size]
    images = [decode_gray(index.read(row)) for row in rows.tolist()]
    passes = np.zeros(len(rows), dtype=np.int64)
    request = plan_batch(setting.spec, rows=rows, sizes=sizes[of_one_size], passes=passes, seed=0, num_views=2)
    warps = _Warps(images, setting.size, request.matrices, request.tones)
    variants: dict[str, Callable[[], np.ndarray]] = {
        "compiled (engines on a CPU)": warps.compiled,
        "OpenCV": warps.opencv,
        "OpenCV, uint8": warps.opencv_grey,
        "kornia-rs": warps.kornia_rs,
        "PIL": warps.pil,
        "Kornia, one batch (engine on a GPU)": warps.kornia,
        "torchvision, tensor steps": warps.torchvision,
    }
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        differing = tuple(_disagreements(variants, setting))
        timings = time_variants(variants, turns=turns, device=torch.device("cpu"))
    finally:
        torch.set_num_threads(num_threads)
    width, height = sizes[of_one_size[0]]
    comparison = Comparison(
        title=f"the warp alone: two {setting.size} px views ({setting.views})",
        work=f"{len(images)} decoded images of {width}x{height} px, one thread, to normalised float",
        rate=float(len(images)),
        unit="images",
        timings=timings,
    )
    fastest = min(timings, key=lambda name: timings[name].median)
    comparison = _remarked(comparison, fastest)
    return replace(comparison, remarks=(*comparison.remarks, *differing))


def _remarked(comparison: Comparison, fastest: str) -> Comparison:
    others = sorted((t.median, name) for name, t in comparison.timings.items() if name != fastest)
    second = others[0][1]
    remark = f"fastest: {fastest}, {comparison.speedup(fastest, second):.2f} times the rate of {second}"
    return replace(comparison, remarks=(remark,))


class _Warps:
    """Two views of decoded images (H, W), by several libraries; each returns (V, B, S, S) float32, normalised."""

    def __init__(self, images: list[Pixels], size: int, matrices: np.ndarray, tones: np.ndarray) -> None:
        self.images, self.size, self.tones = images, size, tones
        self.forward = matrices  # (V, B, 2, 3), continuous coordinates
        self.shifted = shift_half_pixel(matrices)
        self.batch = torch.from_numpy(np.stack(images))
        self.out = np.empty((*matrices.shape[:2], size, size), dtype=np.float32)
        self.inverses = np.ascontiguousarray(to_pixels(matrices).swapaxes(0, 1))
        self.image_tones = np.ascontiguousarray(tones.swapaxes(0, 1))
        self.sigmas = np.zeros(len(matrices))
        self.grey = np.empty((size, size), dtype=np.uint8)

    def compiled(self) -> np.ndarray:
        for i, pixels in enumerate(self.images):
            make_views(pixels, self.inverses[i], self.out[:, i], fill=0, tones=self.image_tones[i], sigmas=self.sigmas)
        return self.out

    def opencv(self) -> np.ndarray:
        """OpenCV's quickest way: float32 once an image, warps of it, and gain and bias in place."""
        for i, pixels in enumerate(self.images):
            levels = pixels.astype(np.float32)
            for view in range(len(self.out)):
                out, (gain, bias) = self.out[view, i], self.tones[view, i, :2].tolist()
                cv2.warpAffine(levels, self.shifted[view, i], out.shape, dst=out, flags=cv2.INTER_LINEAR)
                cv2.addWeighted(out, gain, out, 0.0, bias, dst=out)
        return self.out

    def opencv_grey(self) -> np.ndarray:
        """OpenCV's warp of uint8, as grey levels that are normalised afterwards."""
        for view in range(len(self.out)):
            for i, pixels in enumerate(self.images):
                matrix = self.shifted[view, i]
                grey = cv2.warpAffine(pixels, matrix, (self.size, self.size), dst=self.grey, flags=cv2.INTER_LINEAR)
                self._normalise(grey, view, i)
        return self.out

    def kornia_rs(self) -> np.ndarray:
        for view in range(len(self.out)):
            for i, pixels in enumerate(self.images):
                matrix = tuple(self.shifted[view, i].ravel().tolist())
                grey = kornia_rs.imgproc.warp_affine(pixels[:, :, None], matrix, (self.size, self.size), "bilinear")
                self._normalise(np.asarray(grey)[:, :, 0], view, i)
        return self.out

    def pil(self) -> np.ndarray:
        for view in range(len(self.out)):
            for i, pixels in enumerate(self.images):
                inverse = cv2.invertAffineTransform(self.forward[view, i]).ravel().tolist()
                size = (self.size, self.size)
                grey = Image.fromarray(pixels).transform(
                    size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR
                )
                self._normalise(np.asarray(grey), view, i)
        return self.out

    def kornia(self) -> np.ndarray:
        levels = self.batch.unsqueeze(1).float()
        for view in range(len(self.out)):
            matrices = torch.from_numpy(self.shifted[view]).float()
            tones = torch.from_numpy(self.tones[view, :, :2]).float()
            made = make_views_kornia(levels, matrices, size=self.size, fill=0, sigmas=None, tones=tones)
            self.out[view] = made.squeeze(1).numpy()
        return self.out

    def torchvision(self) -> np.ndarray:
        """Flip, rotate, crop and resize a tensor of one image, as separate steps."""
        for view in range(len(self.out)):
            for i in range(len(self.images)):
                a, c = self.forward[view, i, :, 0].tolist()
                is_flipped = np.linalg.det(self.forward[view, i, :, :2]) < 0
                image = self.batch[i : i + 1]
                if is_flipped:
                    image, a, c = functional.horizontal_flip(image), -a, -c
                angle = -float(np.rad2deg(np.arctan2(c, a)))
                image = functional.rotate(image, angle, interpolation=InterpolationMode.BILINEAR)
                side = min(image.shape[1:])
                image = functional.center_crop(image, [side, side])
                image = functional.resize(image, [self.size, self.size], antialias=False)
                self._normalise(image[0].numpy(), view, i)
        return self.out

    def _normalise(self, grey: np.ndarray, view: int, i: int) -> None:
        gain, bias = self.tones[view, i, :2]
        np.multiply(grey, np.float32(gain), out=self.out[view, i])
        self.out[view, i] += np.float32(bias)


def _disagreements(variants: dict[str, Callable[[], np.ndarray]], setting: Setting) -> Iterator[str]:
    """Remarks on libraries whose views differ from the first variant's; sharp edges that are enlarged differ most."""
    results = {name: call().copy() for name, call in variants.items() if not name.startswith("torchvision")}
    reference = next(iter(results.values()))
    level = 1 / (255 * setting.spec.std)
    for name, views in results.items():
        difference = float(np.abs(views - reference).mean()) / level
        if difference >= _TOLERANCE:
            yield f"{name}: its views are {difference:.2f} grey levels from the first variant's, on average"
