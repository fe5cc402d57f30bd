"""A contact sheet of views: each image beside what a model sees of it, with what was drawn for each view beneath.

The views come from the same code as a loader's on a CPU: for one seed, epoch and list of datasets, the first two are
those that training gets.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from pipeline.engines.pixels import Pixels
from pipeline.engines.samples import DamagedSample, Samples
from pipeline.engines.warps import make_views, to_pixels
from pipeline.plan import warn_of_sizes
from pipeline.views import PRESETS, Floats, ViewSpec, affines, sigmas, tones
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.base.words import as_called
from shards.checks.preview import fit_text
from shards.images.gray import as_shown
from shards.index import ShardIndex

_MARGIN, _LINE = 6, 15
_PAPER, _INK, _FAINT = 255, 0, 96
_LEAST_TILE = 176  # room for the text
_MOST_PIXELS = 200_000_000
_PAGE_WIDTH, _PAGE_HEIGHT = 1600, 2400  # about, of a batch
_Tile = tuple[Image.Image, list[str]]


def view_sheet(
    index: ShardIndex, spec: ViewSpec, *, title: str, images: int, num_views: int, seed: int, epoch: int
) -> Image.Image:
    """A gray page with a line for each of up to ``images`` random images of the selection: the image, fitted into a
    square, then ``num_views`` views. Views are shown with the normalisation undone, clipped to black and white, and
    small ones enlarged by a whole factor without smoothing.

    Raises:
        InputError: the page would be too large, or an image is damaged.
    """
    factor = -(-_LEAST_TILE // spec.size)
    tile = spec.size * factor
    chosen = index.take(generator("preview", seed).permutation(len(index))[:images])
    page = (num_views + 1) * (tile + _MARGIN) * len(chosen) * (tile + 5 * _LINE + _MARGIN)
    if page > _MOST_PIXELS:
        raise InputError(
            f"--images {images}, --num-views {num_views} and --size {spec.size}: make a page of {page / 1e6:,.0f} "
            f"megapixels; at most {_MOST_PIXELS / 1e6:.0f}"
        )
    warn_of_sizes(index.sizes(), spec, above=3)
    samples = Samples(index)
    address = {"epoch": epoch, "seed": seed}
    matrices, factors, blurs = (
        np.stack([draw(view) for view in range(num_views)], axis=1)
        for draw in (
            lambda view: affines(spec, chosen.rows, chosen.sizes(), view=view, **address),
            lambda view: tones(spec, chosen.rows, view=view, **address),
            lambda view: sigmas(spec, chosen.rows, view=view, **address),
        )
    )
    lines: list[list[_Tile]] = []
    for i, (row, key) in enumerate(zip(chosen.rows.tolist(), chosen.column("key"), strict=True)):
        pixels = _decode(samples, row, index)
        height, width = pixels.shape
        fitted = ImageOps.contain(as_shown(Image.fromarray(pixels)), (tile, tile), Image.Resampling.BICUBIC)
        line = [(fitted, [key, f"{width}x{height} px"])]
        views = np.empty((len(matrices[i]), spec.size, spec.size), dtype=np.float32)
        make_views(pixels, to_pixels(matrices[i]), views, fill=spec.fill, tones=factors[i], sigmas=blurs[i])
        for view, matrix, tone, sigma in zip(views, matrices[i], factors[i], blurs[i], strict=True):
            told = describe_view(matrix, tone, float(sigma), spec, side=min(width, height))
            grey = 255.0 * (spec.std * view + spec.mean)
            clipped = float(((grey < -0.5) | (grey > 255.5)).mean())
            told += [f"{100 * clipped:.0f} % clipped here"] if clipped >= 0.005 else []
            line.append((_picture(grey, tile), told))
        lines.append(line)
    sense = "; + turns clockwise" if spec.rotation else ""
    about = f"{title}: {spec.size} px, seed {seed}, epoch {epoch}, {len(chosen):,} of {len(index):,} images"
    return _page(lines, tile, [about, f"views as the model sees them, normalisation undone, clipped to 0..255{sense}"])


def batch_sheet(views: Sequence[Tensor], names: Sequence[str], spec: ViewSpec) -> Image.Image:
    """A gray page of a batch as training gets it: of each of its first images the views (B, 1, S, S), side by side,
    with the image's name beneath the first."""
    tile = spec.size * -(-_LEAST_TILE // spec.size)
    columns = max(1, _PAGE_WIDTH // (tile + _MARGIN) // len(views))
    most = columns * max(1, _PAGE_HEIGHT // (tile + _LINE + _MARGIN))
    tiles: list[_Tile] = []
    for name, *made in zip(names[:most], *(view[:most, 0].numpy() for view in views), strict=True):
        for number, view in enumerate(made, start=1):
            picture = _picture(255.0 * (spec.std * view + spec.mean), tile)
            tiles.append((picture, [name if number == 1 else f"view {number}"]))
    step = columns * len(views)
    lines = [tiles[start : start + step] for start in range(0, len(tiles), step)]
    about = f"the first {len(tiles) // len(views)} of a batch of {len(views[0])} images, {spec.size} px"
    return _page(lines, tile, [about, "views as the model sees them, normalisation undone, clipped to 0..255"])


def title_of(preset: str, spec: ViewSpec) -> str:
    """A preset's name, and what ``spec`` changes of it, but for the size."""
    given = asdict(spec)
    changed = {name: given[name] for name, value in asdict(PRESETS[preset]).items() if given[name] != value}
    changed.pop("size", None)
    return preset + (f" with {', '.join(f'{name} {value}' for name, value in changed.items())}" if changed else "")


def describe_view(matrix: Floats, tone: Floats, sigma: float, spec: ViewSpec, *, side: int) -> list[str]:
    """What was done to a view, in lines of words, read off its forward matrix (2, 3), gain, bias and gamma, and blur.

    Args:
        side: the image's shorter side in pixels, which the crop's area refers to.
    """
    scale_x, scale_y = np.linalg.norm(matrix[:, :2], axis=1)
    angle = np.rad2deg(np.arctan2(-matrix[0, 1] / scale_x, matrix[1, 1] / scale_y))
    crop_width, crop_height = spec.size / scale_x, spec.size / scale_y
    contrast = -tone[1] * spec.std / spec.mean if spec.mean else 1.0
    brightness = tone[0] * 255.0 * spec.std / contrast
    crop = f"crop {100 * crop_width * crop_height / side**2:.0f} %"
    if spec.ratio != (1.0, 1.0):
        crop += f", {crop_width / crop_height:.2f} : 1"
    if spec.flip:
        crop += ", flipped" if np.linalg.det(matrix[:, :2]) < 0 else ", not flipped"
    lines = [crop, f"turned {angle:+.1f}°"] if spec.rotation else [crop]
    if spec.brightness or spec.contrast:
        lines.append(f"brightness {brightness:.2f}, contrast {contrast:.2f}")
    if spec.gamma != (1.0, 1.0):
        lines.append(f"gamma {tone[2]:.2f}")
    if spec.blur:
        lines.append(f"blur {sigma:.2f} px" if sigma else "no blur")
    return lines


def _picture(grey: npt.NDArray[np.floating[Any]], tile: int) -> Image.Image:
    """Grey levels (S, S) in a tile, enlarged without smoothing."""
    picture = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    return picture.resize((tile, tile), Image.Resampling.NEAREST)


def _decode(samples: Samples, row: int, index: ShardIndex) -> Pixels:
    try:
        return samples.decode(row)
    except DamagedSample as error:
        folders = " ".join(map(str, index.folders))
        raise InputError(f"{error}; run: {as_called(f'shards verify {folders}')}") from None


def _page(lines: list[list[_Tile]], tile: int, about: list[str]) -> Image.Image:
    font = ImageFont.load_default(12)
    head = len(about) * _LINE + 2 * _MARGIN
    heights = [tile + max(len(told) for _, told in line) * _LINE + 2 * _MARGIN for line in lines]
    sheet = Image.new("L", (len(lines[0]) * (tile + _MARGIN) + _MARGIN, head + sum(heights)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, text in enumerate(about):
        pen.text((_MARGIN, _MARGIN + number * _LINE), fit_text(text, sheet.width, font), _INK, font)
    top = head
    for line, height in zip(lines, heights, strict=True):
        for column, (picture, told) in enumerate(line):
            left = _MARGIN + column * (tile + _MARGIN)
            pen.rectangle((left, top, left + tile - 1, top + tile - 1), fill=224)
            sheet.paste(picture, (left + (tile - picture.width) // 2, top + (tile - picture.height) // 2))
            for number, text in enumerate(told):
                place = (left, top + tile + 2 + number * _LINE)
                cut = fit_text(text, tile, font, keeps_end=column == 0 and number == 0)
                pen.text(place, cut, _INK if column else _FAINT, font)
        top += height
    return sheet
