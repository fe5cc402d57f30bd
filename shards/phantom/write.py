"""Phantom chest X-rays, written exactly as CheXpert-small, MIMIC-CXR-JPG and the Shenzhen set are released.

    python -m shards phantom --output DIR

draws procedural radiographs (about 55 images a second a core at 320 px, written) for trying and testing the whole chain
without patient data. Every image depends only on the seed and on which patient it is, never on the number of workers.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import joblib

from shards.base.atomic import atomic_folder
from shards.base.bar import Bar
from shards.base.children import local_workers
from shards.base.errors import InputError
from shards.phantom import chexpert_release, mimic_release, shenzhen_release
from shards.phantom.config import PhantomConfig, check_phantom


def run_phantom(config: PhantomConfig) -> None:
    """Writes the phantom releases and prints what was written. Raises as :func:`write_phantom`."""
    totals = write_phantom(config)
    if totals["chexpert"]:
        train, valid = totals["chexpert_train_images"], totals["chexpert_valid_images"]
        print(
            f"{totals['chexpert']}: {train:,} train and {valid:,} valid images, {totals['chexpert_studies']:,} studies"
        )
    if totals["mimic"]:
        print(f"{totals['mimic']}: {totals['mimic_images']:,} images, {totals['mimic_studies']:,} studies")
    if totals["shenzhen"]:
        print(f"{totals['shenzhen']}: {totals['shenzhen_images']:,} images")


def write_phantom(config: PhantomConfig) -> dict[str, Any]:
    """Writes the phantom releases and returns what was written.

    Returns counts: ``chexpert_train_images``, ``chexpert_valid_images``, ``chexpert_studies``, ``mimic_images``,
    ``mimic_studies``, ``shenzhen_images``, and the folders as ``chexpert``, ``mimic`` and ``shenzhen`` (``None`` where
    nothing was asked for).

    Raises:
        InputError: A setting is out of range, or the output folder already holds a phantom or a release.
    """
    check_phantom(config)
    for release in (chexpert_release.RELEASE, mimic_release.RELEASE, shenzhen_release.RELEASE):
        if (config.output / release).exists():
            raise InputError(f"output {config.output}: {release} is already there; remove it or choose another folder")
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
    with local_workers(workers):
        results = joblib.Parallel(return_as="generator")(tasks)
        return list(Bar(results, total=len(tasks), desc=title, unit=unit))
