"""How many copies of real films are found, form by form, and how many different films are taken for copies.

    python -m tests.shards.checks.copies '../shared/data/kermany/test/*/*' --films 200

Films are packed as training images, each again in another form as a test image, and ``stats`` is asked; first of
all what it takes for copies among the films as they are.
"""

import argparse
import glob
import random
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFilter, ImageOps

from shards.checks.stats import dataset_stats
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.shards.films import FORMS, TURNED, compressed, cut, resized

MORE = {
    "64 pixels": lambda film: film.resize((64, 64), Image.Resampling.BICUBIC),
    "quality 30": lambda film: compressed(film, 30),
    "half, quality 50": lambda film: compressed(resized(film, 0.5), 50),
    "squashed": lambda film: film.resize((round(0.9 * film.width), film.height)),
    "blurred": lambda film: film.filter(ImageFilter.GaussianBlur(1)),
    "noisy": lambda film: Image.fromarray(
        np.clip(np.asarray(film) + np.random.default_rng(0).normal(0, 5, film.size[::-1]), 0, 255).astype(np.uint8)
    ),
    "cut by 2 %": lambda film: cut(film, 0.02),
    "cut by 5 %": lambda film: cut(film, 0.05),
    "padded by 3 %": lambda film: ImageOps.expand(film, round(0.03 * film.width)),
    "turned by 1 degree": lambda film: film.rotate(1, Image.Resampling.BICUBIC),
    "turned by 3 degrees": lambda film: film.rotate(3, Image.Resampling.BICUBIC),
    "CLAHE": lambda film: Image.fromarray(cv2.createCLAHE(2.0, (8, 8)).apply(np.asarray(film))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern")
    parser.add_argument("--films", type=int, default=200)
    asked = parser.parse_args()
    paths = sorted(glob.glob(asked.pattern))
    films = [Image.open(path).convert("L") for path in random.Random(0).sample(paths, min(asked.films, len(paths)))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = pack(films, folder, "train")
        stats = dataset_stats(ShardIndex.open(train))
        print(f"as they are: {stats.duplicates.num_groups} identical, {stats.alike.num_groups} more called the same")
        for form, change in (FORMS | TURNED | MORE).items():
            test = pack([change(film) for film in films], folder, "test")
            overlaps = dataset_stats(ShardIndex.open(train, test)).overlaps
            print(f"{form:24} {overlaps[0].num_images[0] if overlaps else 0} of {len(films)} found", flush=True)


def pack(films: list[Image.Image], folder: Path, split: str) -> Path:
    shutil.rmtree(folder / "source", ignore_errors=True)
    shutil.rmtree(folder / split, ignore_errors=True)
    (folder / "source" / split).mkdir(parents=True)
    for number, film in enumerate(films):
        film.save(folder / "source" / split / f"{split}{number}.png")  # of no name that is in both
    build_dataset(BuildConfig(source="folder", input=folder / "source", output=folder / split, workers=1))
    return folder / split


if __name__ == "__main__":
    main()
