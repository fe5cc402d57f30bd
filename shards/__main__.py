"""``python -m shards``: packs chest X-ray releases, looks into what was packed, and selects from it.

python -m shards phantom --output phantom
python -m shards build --source chexpert --input phantom/CheXpert-v1.0-small --output data/chexpert
python -m shards verify data/chexpert
python -m shards stats data/chexpert
python -m shards preview data/chexpert --output sheet.png
python -m shards subset data/chexpert --output data/chexpert-1 --fraction 0.01 --where split=train
python -m shards merge data/chexpert data/shenzhen --output data/both
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro

from shards.base.atomic import atomic_write
from shards.base.errors import InputError, run_command, writing
from shards.checks.preview import contact_sheet, save_sheet
from shards.checks.stats import dataset_stats, stats_text
from shards.checks.verify import verify_dataset
from shards.derived import filter_rows, merge_datasets, write_subset
from shards.index import ShardIndex
from shards.packing.build import run_build
from shards.phantom import PhantomConfig, write_phantom

DESCRIPTION = """Chest X-ray releases to tar shards with a Parquet index: pack once, then select; no image is copied.

First `build` a dataset folder from a release as you downloaded it, then `verify` it, read its `stats`, look at a
`preview`. A `subset` (such as 1 % of the patients) or a `merge` of several datasets is a small folder that refers to
the packed ones; training and evaluation take it like any other. Each command explains itself: add --help.

Exit codes: 0 done; 1 verify found damage, or build rejected more images than allowed; 2 something for you to mend,
which one line says; 130 interrupted."""
_MANY_DAMAGES = 50

Datasets = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATASET [DATASET ...]")]
Conditions = Annotated[tuple[str, ...], tyro.conf.arg(metavar="[COLUMN=VALUE ...]")]


def main() -> int:
    """Runs the command and returns its exit code."""
    commands: dict[str, Callable[..., int | None]] = {
        "build": run_build,
        "verify": verify,
        "stats": stats,
        "preview": preview,
        "subset": subset,
        "merge": merge,
        "phantom": phantom,
    }
    status = tyro.extras.subcommand_cli_from_dict(commands, prog="python -m shards", description=DESCRIPTION)
    return status or 0


def verify(datasets: Datasets, workers: int = -1) -> int:
    """Check that every byte of a dataset is as it was packed.

    Reads all of it: each file's checksum; the index against the tars and the DALI indexes, both ways; each image's
    checksum, decoding and size. Of a view (subset, merge), the datasets it refers to are checked too. Run it after a
    copy or a download, and before a long training.

    Exit codes: 0 every byte is as it was packed; 1 damage was found, and is listed; 2 there is no dataset to check.

    Args:
        datasets: Dataset folders.
        workers: Processes; -1 takes all cores.
    """
    _require_datasets(datasets)
    is_damaged = False
    for folder in datasets:
        start = time.perf_counter()
        found = verify_dataset(folder, workers=workers)
        what = f"{found.num_images:,} images, {found.num_files:,} files, {found.num_bytes / 1e6:,.1f} MB"
        if not found.damages:
            seconds = time.perf_counter() - start
            print(f"{folder}: whole; {what} are as they were packed ({seconds:.1f} s)")
            continue
        is_damaged = True
        files = sorted({damage.file for damage in found.damages})
        print(f"{folder}: DAMAGED; {len(found.damages):,} findings in {len(files):,} files ({what} looked at)")
        for damage in found.damages[:_MANY_DAMAGES]:
            print(f"  {damage.file}: {damage.message}")
        if len(found.damages) > _MANY_DAMAGES:
            print(f"  ... and {len(found.damages) - _MANY_DAMAGES:,} more")
        print(
            "  remedy: copy these files again from a whole copy of the dataset, or remove the folder and build it again"
        )
    return int(is_damaged)


def stats(datasets: Datasets, where: Conditions = (), output: Path | None = None) -> None:
    """Count what datasets hold: labels by split, views, sizes, identical images, and leaks between splits.

    A leak is a patient, or an identical image, on both sides of a split: it makes test results too good. Labels are
    counted as the release says them: present (1), absent (0), uncertain (-1), blank (not mentioned).

    Exit codes: 0 counted, whatever was found; 2 a mistake, such as a folder that is no dataset.

    Args:
        datasets: Dataset folders; several are counted as one.
        where: Only images that meet all conditions: COLUMN=VALUE, several values joined by commas, COLUMN= for blank.
        output: Also write the counts to this JSON file.
    """
    counted = dataset_stats(_select(datasets, where))
    print(stats_text(counted))
    if output is not None:
        with writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(output, json.dumps(asdict(counted), indent=2) + "\n")
        print(f"\nwritten: {output}")


def preview(
    datasets: Datasets,
    output: Path = Path("preview.png"),
    where: Conditions = (),
    columns: int = 6,
    rows: int = 4,
    tile: int = 200,
    seed: int = 0,
) -> None:
    """Draw a contact sheet: random images in one PNG, each with its key, split, view and labels beneath.

    Look for images that are inverted, turned, cut or no chest X-rays, and for labels that cannot be true. For one
    finding alone: --where "Pleural Effusion=1".

    Exit codes: 0 written; 2 a mistake, such as a condition that no image meets.

    Args:
        datasets: Dataset folders.
        output: PNG file to write; one that is there is replaced.
        where: Only images that meet all conditions: COLUMN=VALUE, several values joined by commas, COLUMN= for blank.
        columns: Images side by side.
        rows: Rows of images.
        tile: Side of an image's square in pixels.
        seed: Which random images.
    """
    sheet = contact_sheet(_select(datasets, where), columns=columns, rows=rows, tile=tile, seed=seed)
    save_sheet(sheet, output)
    print(f"written: {output} ({sheet.width}x{sheet.height} px)")


def subset(
    datasets: Datasets,
    output: Path,
    where: Conditions = (),
    fraction: float = 1.0,
    draw: int = 0,
    by: Literal["patient", "image"] = "patient",
    nested: bool = False,
    seed: int = 0,
) -> None:
    """Write a selection of images as a small dataset folder of its own; no image is copied.

    The folder holds the chosen rows (index.parquet) and, for each tar, a DALI index of the chosen images alone. Give it
    wherever a dataset is asked for; keep the datasets it was drawn from where they are. First the conditions of --where
    choose, then the fraction is drawn from what they leave.

    Exit codes: 0 written; 2 a mistake, such as an output that exists or a condition that no image meets.

    Args:
        datasets: Dataset folders to select from.
        output: Folder to write; it must be new or empty.
        where: Only images that meet all conditions: COLUMN=VALUE, several values joined by commas, COLUMN= for blank.
            For example: split=train view=frontal.
        fraction: Share to draw, above 0 and at most 1.
        draw: Number of the draw: 0, 1, 2 ... are independent random draws.
        by: Draw whole patients, so that no patient is half in; or single images.
        nested: Make the draw a part of the same draw at any larger fraction, as draws in `eval` are; otherwise draws of
            different fractions are independent.
        seed: Seed of all draws.
    """
    chosen = _select(datasets, where)
    drawn = chosen.fraction(fraction, draw=draw, by=by, seed=seed, nested=nested)
    selection = {"where": where, "fraction": fraction, "draw": draw, "by": by, "nested": nested, "seed": seed}
    written = write_subset(drawn, output, selection=selection)
    patients = f"{_num_patients(written):,} of {_num_patients(chosen):,} patients"
    print(f"{output}: {len(written):,} of {len(chosen):,} images, {patients}; no image copied")


def merge(datasets: Datasets, output: Path) -> None:
    """Make several datasets one; no image is copied.

    The folder holds a list of the datasets, relative to itself, and nothing else. Give it wherever a dataset is asked
    for; keep its members where they are. Labels keep their names: a label that a member does not have is unknown for
    its images. Subsets and merges can be members too.

    Exit codes: 0 written; 2 a mistake, such as an output that exists or a dataset given twice.

    Args:
        datasets: Two or more dataset folders.
        output: Folder to write; it must be new or empty.
    """
    written = merge_datasets(datasets, output)
    for note in _merge_notes(written):
        print(f"note: {note}")
    patients = f"{_num_patients(written):,} patients in {len(datasets)} datasets"
    print(f"{output}: {len(written):,} images of {patients}; no image copied")


def phantom(config: Annotated[PhantomConfig, tyro.conf.OmitArgPrefixes]) -> None:
    """Write phantom CheXpert, MIMIC-CXR and Shenzhen releases: procedural radiographs in the real ones' layout."""
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


def _select(datasets: tuple[Path, ...], where: tuple[str, ...]) -> ShardIndex:
    _require_datasets(datasets)
    return filter_rows(ShardIndex.open(*datasets), where).require_rows(f"--where {' '.join(where)}")


def _require_datasets(datasets: tuple[Path, ...]) -> None:
    if not datasets:
        raise InputError("no dataset given; name one or more folders that `python -m shards build` wrote")


def _num_patients(index: ShardIndex) -> int:
    return len(set(index.patients().tolist()))


def _merge_notes(index: ShardIndex) -> list[str]:
    notes = []
    for label in index.label_names:
        without = [packed.folder.name for packed in index.packed if label not in packed.labels]
        if without:
            notes.append(f"label {label!r} is unknown for the images of {', '.join(without)}")
    names = {str(name) for name in index.column("dataset")}
    if len(names) < len(index.packed):
        alike = "patients of one number in them count as one person; build with --name to tell them apart"
        notes.append(f"{len(index.packed)} datasets, but the only names are {', '.join(sorted(names))}: {alike}")
    return notes


if __name__ == "__main__":
    run_command(main)
