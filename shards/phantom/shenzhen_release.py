"""Phantom patients written as the Shenzhen tuberculosis set is released."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from shards.phantom.anatomy import draw_anatomy
from shards.phantom.canvas import Bytes
from shards.phantom.findings import Findings, tuberculosis_findings
from shards.phantom.radiograph import random_generator, take_radiograph

RELEASE = "Shenzhen"
# The release's own numbers: 326 of 662 are normal; 27 files are RGB, the others have a palette.
_NUM_REAL = 662
_NORMAL_REAL = 326
_RGB_REAL = 27
_DATASET = 2


@dataclass(frozen=True, kw_only=True)
class Film:
    """One Shenzhen image: number (from 1), whether it shows tuberculosis, whether its file is RGB."""

    number: int
    tuberculosis: bool
    rgb: bool

    @property
    def name(self) -> str:
        return f"CHNCXR_{self.number:04d}_{int(self.tuberculosis)}"


def films(num_images: int, *, seed: int) -> list[Film]:
    """The normal films first, then those with tuberculosis, in the release's proportions."""
    num_normal = round(num_images * _NORMAL_REAL / _NUM_REAL)
    num_rgb = round(num_images * _RGB_REAL / _NUM_REAL)
    rgb = set(random_generator(seed, _DATASET).permutation(num_images)[:num_rgb].tolist())
    return [Film(number=i + 1, tuberculosis=i >= num_normal, rgb=i in rgb) for i in range(num_images)]


def write_film(film: Film, *, root: Path, seed: int, size: int) -> None:
    """Writes one film and its reading below ``root`` (the release folder, with its two folders made)."""
    cv2.setNumThreads(1)
    rng = random_generator(seed, _DATASET, film.number)
    male = rng.random() < (0.7 if film.tuberculosis else 0.62)
    young = rng.random() < 0.05
    age = float(rng.uniform(0.02, 12)) if young else float(np.clip(rng.gamma(5.5, 6.5), 14, 89))
    anatomy = draw_anatomy(rng, sex="Male" if male else "Female", age=age)
    findings = tuberculosis_findings(rng, max(float(rng.random()), 1e-3) if film.tuberculosis else 0.0)
    short = max(32, round(size * rng.uniform(0.92, 1.05)))
    long = round(short * rng.uniform(1.0, 1.2))
    height, width = (short, long) if rng.random() < 0.7 else (long, short)
    # Infants are filmed lying down, from the front.
    projection = "AP" if age < 3 else "PA"
    picture = take_radiograph(anatomy, findings, projection=projection, height=height, width=width, rng=rng)
    _save(picture, root / "CXR_png" / f"{film.name}.png", rgb=film.rgb)
    reading = write_reading(rng, male=male, age=age, tuberculosis=film.tuberculosis, findings=findings)
    (root / "ClinicalReadings" / f"{film.name}.txt").write_bytes(reading.encode())


def _save(picture: Bytes, path: Path, *, rgb: bool) -> None:
    if rgb:
        image = Image.fromarray(np.repeat(picture[:, :, None], 3, axis=2))
    else:
        # A palette of the gray levels that occur: the stored bytes are places in it, not gray levels.
        levels, indices = np.unique(picture, return_inverse=True)
        image = Image.fromarray(indices.reshape(picture.shape).astype(np.uint8), mode="L")
        image.putpalette(np.repeat(levels, 3).tobytes())
    image.save(path, compress_level=1)


def write_reading(rng: np.random.Generator, *, male: bool, age: float, tuberculosis: bool, findings: Findings) -> str:
    """The text of a reading: a first line of sex and age with the release's oddities, then what was found."""
    sex = "male" if male else "female"
    if age < 0.1:
        span = f"{max(1, round(age * 365))}days"
    elif age < 1.5:
        span = f"{max(1, round(age * 12))}" + str(rng.choice(["month", "months", "mos"]))
    else:
        span = f"{int(age)}" + str(rng.choice(["yrs", "yr", " yrs", "yrs.", "years"], p=[0.7, 0.08, 0.14, 0.03, 0.05]))
    form = rng.random()
    if form < 0.03:
        sex = {"male": "mael", "female": "femal"}[sex]
    elif form < 0.1:
        sex = sex.capitalize()
    gap = str(rng.choice([" ", ", ", ",", "", "  "], p=[0.66, 0.2, 0.05, 0.05, 0.04]))
    lines = [f"{sex}{gap}{span}"]
    if not tuberculosis:
        lines.append("normal")
    else:
        lines += _tuberculosis_lines(rng, findings)
    tail = str(rng.choice(["", "\t", "\t\t", " \t"], p=[0.4, 0.35, 0.15, 0.1]))
    end = "\r\n" if rng.random() < 0.3 else "\n"
    return end.join([*lines[:-1], lines[-1] + tail]) + (end if rng.random() < 0.6 else "")


def _tuberculosis_lines(rng: np.random.Generator, findings: Findings) -> list[str]:
    sides = {patch.side for patch in findings.patches}
    place = "bilateral" if len(sides) == 2 else ("right" if 0 in sides else "left")
    stem = str(rng.choice(["PTB", "secondary PTB", "STB", "pulmonary tuberculosis"], p=[0.5, 0.3, 0.1, 0.1]))
    zone = (
        ""
        if rng.random() < 0.5
        else str(rng.choice([" in the upper field", " in upper lobe", ", upper and middle field"]))
    )
    lines = [f"{place} {stem}{zone}"]
    if any(focus.wall > 0 for focus in findings.foci) and rng.random() < 0.7:
        lines.append("with cavity" if rng.random() < 0.6 else "cavitation")
    if findings.streaks and rng.random() < 0.4:
        lines.append("some fibrous strips")
    if max(findings.effusion) > 0:
        lines.append(str(rng.choice(["pleural effusion", "pleuritis", "with pleural effussion"])))
    return lines
