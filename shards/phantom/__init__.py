"""Phantom chest X-rays, written exactly as CheXpert-small, MIMIC-CXR-JPG and the Shenzhen set are released.

    python -m shards phantom --output DIR

draws procedural radiographs (about 55 images a second a core at 320 px, written) for trying and testing the whole chain
without patient data. Every image depends only on the seed and on which patient it is, never on the number of workers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from tqdm import tqdm

from shards.base.atomic import atomic_folder
from shards.base.errors import InputError
from shards.phantom import chexpert_release, mimic_release, shenzhen_release

__all__ = ["PhantomConfig", "write_phantom"]


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Draws phantom CheXpert, MIMIC-CXR and Shenzhen folders."""

    output: Path
    """Folder to write CheXpert-v1.0-small/, MIMIC-CXR-JPG/ and Shenzhen/ into; made if absent."""
    seed: int = 0
    """The same seed gives the same bytes, whatever the number of workers."""
    chexpert_patients: int = 1000
    """Training patients of the CheXpert-like folder; each has 2.9 studies and 3.5 images on average, as released."""
    chexpert_valid_patients: int = 200
    """Validation patients, one study each; 0 writes an empty valid.csv."""
    mimic_patients: int = 0
    """Patients of the MIMIC-CXR-like folder, with reports whose indications tell part of the labels; each has 3.5
    studies and 5 images on average. 0 leaves the folder out."""
    shenzhen_images: int = 662
    """Images of the Shenzhen-like folder, 51 % of them with tuberculosis; 0 leaves the folder out."""
    size: int = 320
    """Shorter side of the CheXpert-like images in pixels; most are then 390 x 320."""
    mimic_size: int = 320
    """Shorter side of the MIMIC-like images in pixels; real ones have some 2500."""
    shenzhen_size: int = 512
    """Shorter side of the Shenzhen-like images in pixels, give or take a few per cent; real ones have up to 3000."""
    workers: int = -1
    """Processes to draw with; -1 takes one for each core."""


def write_phantom(config: PhantomConfig) -> dict[str, Any]:
    """Writes the phantom releases and returns what was written.

    Returns counts: ``chexpert_train_images``, ``chexpert_valid_images``, ``chexpert_studies``, ``mimic_images``,
    ``mimic_studies``, ``shenzhen_images``, and the folders as ``chexpert``, ``mimic`` and ``shenzhen`` (``None`` where
    nothing was asked for).

    Raises:
        InputError: A setting is out of range, or the output folder already holds a phantom or a release.
    """
    _check(config)
    totals: dict[str, Any] = {
        "chexpert": None,
        "chexpert_train_images": 0,
        "chexpert_valid_images": 0,
        "chexpert_studies": 0,
        "mimic": None,
        "mimic_images": 0,
        "mimic_studies": 0,
        "shenzhen": None,
        "shenzhen_images": 0,
    }
    releases: dict[str, tuple[str, int, Callable[[PhantomConfig, Path], dict[str, int]]]] = {
        "chexpert": (
            chexpert_release.RELEASE,
            config.chexpert_patients + config.chexpert_valid_patients,
            _write_chexpert,
        ),
        "mimic": (mimic_release.RELEASE, config.mimic_patients, _write_mimic),
        "shenzhen": (shenzhen_release.RELEASE, config.shenzhen_images, _write_shenzhen),
    }
    for name, (release, num, write) in releases.items():
        if num:
            with atomic_folder(config.output / release) as root:
                totals |= write(config, root)
            totals[name] = str(config.output / release)
    return totals


def _write_chexpert(config: PhantomConfig, root: Path) -> dict[str, int]:
    draw = joblib.delayed(chexpert_release.write_patient)
    totals = {"chexpert_studies": 0}
    for split, num in (("train", config.chexpert_patients), ("valid", config.chexpert_valid_patients)):
        (root / split).mkdir()
        patients = chexpert_release.patients_of_split(split, num, num_train=config.chexpert_patients)
        tasks = [draw(patient, root=root, seed=config.seed, size=config.size) for patient in patients]
        tables = _run(tasks, workers=config.workers, title=f"CheXpert {split}", unit="patient")
        rows = [row for table in tables for row in table]
        chexpert_release.write_table(root / f"{split}.csv", rows)
        totals[f"chexpert_{split}_images"] = len(rows)
        totals["chexpert_studies"] += len({row["Path"].rsplit("/", 1)[0] for row in rows})
    return totals


def _write_mimic(config: PhantomConfig, root: Path) -> dict[str, int]:
    draw, patients = joblib.delayed(mimic_release.write_patient), mimic_release.patients(config.mimic_patients)
    tasks = [draw(patient, root=root, seed=config.seed, size=config.mimic_size) for patient in patients]
    counts = mimic_release.write_lists(root, _run(tasks, workers=config.workers, title="MIMIC-CXR", unit="patient"))
    return {"mimic_images": counts["split"], "mimic_studies": counts["chexpert"]}


def _write_shenzhen(config: PhantomConfig, root: Path) -> dict[str, int]:
    (root / "CXR_png").mkdir()
    (root / "ClinicalReadings").mkdir()
    draw, films = joblib.delayed(shenzhen_release.write_film), shenzhen_release.films
    tasks = [
        draw(film, root=root, seed=config.seed, size=config.shenzhen_size)
        for film in films(config.shenzhen_images, seed=config.seed)
    ]
    _run(tasks, workers=config.workers, title="Shenzhen", unit="image")
    return {"shenzhen_images": config.shenzhen_images}


def _run(tasks: list[Callable[..., Any]], *, workers: int, title: str, unit: str) -> Iterable[Any]:
    results = joblib.Parallel(n_jobs=workers, return_as="generator")(tasks)
    return list(tqdm(results, total=len(tasks), desc=title, unit=unit))


def _check(config: PhantomConfig) -> None:
    for name in ("seed", "chexpert_patients", "chexpert_valid_patients", "mimic_patients", "shenzhen_images"):
        value = getattr(config, name)
        if value < 0:
            raise InputError(f"{name} {value}: must not be negative; give 0 or more")
    for name in ("size", "mimic_size", "shenzhen_size"):
        value = getattr(config, name)
        if not 32 <= value <= 4096:
            raise InputError(f"{name} {value}: images are drawn from 32 to 4096 pixels; choose a size in that range")
    if config.workers == 0:
        raise InputError("workers 0: give the number of processes, or -1 for one a core")
    asked = ("chexpert_patients", "chexpert_valid_patients", "mimic_patients", "shenzhen_images")
    if not any(getattr(config, name) for name in asked):
        raise InputError(f"{', '.join(asked[:-1])} and {asked[-1]} are all 0: nothing to write")
    if config.output.exists() and not config.output.is_dir():
        raise InputError(f"output {config.output}: is a file; choose a folder")
    for release in (chexpert_release.RELEASE, mimic_release.RELEASE, shenzhen_release.RELEASE):
        if (config.output / release).exists():
            raise InputError(f"output {config.output}: {release} is already there; remove it or choose another folder")
