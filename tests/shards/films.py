"""Phantom chest films, and what copies of a film look like elsewhere."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from shards.phantom.anatomy import draw_anatomy
from shards.phantom.findings import Findings
from shards.phantom.radiograph import random_generator, take_radiograph


def draw_film(seed: int, *, width: int = 288, height: int = 256) -> Image.Image:
    """A frontal film (mode ``L``) of the patient of this number."""
    rng = random_generator(seed)
    anatomy = draw_anatomy(rng, sex="Female" if seed % 2 else "Male", age=30 + seed % 50)
    return Image.fromarray(take_radiograph(anatomy, Findings(), projection="PA", height=height, width=width, rng=rng))


def resized(film: Image.Image, factor: float) -> Image.Image:
    return film.resize((round(film.width * factor), round(film.height * factor)), Image.Resampling.BICUBIC)


def compressed(film: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    film.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def gamma(film: Image.Image, exponent: float) -> Image.Image:
    return film.point([round(255 * (level / 255) ** exponent) for level in range(256)])


def windowed(film: Image.Image, low: int, high: int) -> Image.Image:
    return film.point([int(np.clip(255 * (level - low) / (high - low), 0, 255)) for level in range(256)])


def cut(film: Image.Image, share: float) -> Image.Image:
    """Without a margin of this share on each side."""
    across, down = round(share * film.width), round(share * film.height)
    return film.crop((across, down, film.width - across, film.height - down))


FORMS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda film: resized(film, 0.5),
    "double": lambda film: resized(film, 2.0),
    "small": lambda film: compressed(resized(film, 0.375), 75),
    "compressed": lambda film: compressed(film, 50),
    "gamma": lambda film: gamma(film, 2.2),
    "windowed": lambda film: windowed(film, 20, 235),
    "equalised": ImageOps.equalize,
    "coloured": lambda film: film.convert("RGB"),
    "cut": lambda film: cut(film, 0.01),
}
TURNED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "mirrored, inverted": lambda film: ImageOps.invert(ImageOps.mirror(film)),
}
