"""``python -m shards``: packs chest X-ray releases, looks into what was packed, and selects from it.

python -m shards phantom --output phantom
python -m shards build --source chexpert --input phantom/CheXpert-v1.0-small --output data/chexpert
python -m shards verify data/chexpert
python -m shards stats data/chexpert
python -m shards preview data/chexpert --output sheet.png
python -m shards subset data/chexpert --output data/chexpert-1 --fraction 0.01 --where split=train
python -m shards merge data/chexpert data/shenzhen --output data/both
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt of the imports below has no more to say

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field
from tyro.conf import OmitArgPrefixes

from shards.base.bounds import Count, Seed, Share, Workers
from shards.base.commands import run_subcommand
from shards.base.errors import InputError, continuing, run_command
from shards.base.words import as_called
from shards.packing.config import BuildConfig, check_build
from shards.phantom.config import PhantomConfig, check_phantom

DESCRIPTION = """Chest X-ray releases to tar shards with a Parquet index: pack once, then select; no image is copied.

First `build` a dataset folder from a release as you downloaded it, then `verify` it, read its `stats`, look at a
`preview`. A `subset` (such as 1 % of the patients) or a `merge` of several datasets is a small folder that refers to
the packed ones; training and evaluation take it like any other. Each command explains itself: add --help.

Exit codes: 0 done; 1 verify found damage, or build tried all images and rejected more than allowed; 2 something for
you to mend, which one line says; 130 interrupted."""

Datasets = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATASET [DATASET ...]")]
Conditions = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar="[COLUMN=VALUE ...]",
        help="Only images that meet all conditions: COLUMN=VALUE, several values joined by commas, COLUMN= for blank. "
        "For example: split=train view=frontal.",
    ),
]


def main() -> int:
    """Runs the command and returns its exit code."""
    commands: dict[str, Callable[..., int | None]] = {
        "build": build,
        "verify": verify,
        "stats": stats,
        "preview": preview,
        "subset": subset,
        "merge": merge,
        "phantom": phantom,
    }
    return run_subcommand(commands, package="shards", description=DESCRIPTION) or 0


# The arguments are read before anything heavy is imported, so the commands import what they run.


def build(config: OmitArgPrefixes[BuildConfig], dry_run: bool = False) -> int:
    """Pack a release into a dataset folder; repeat the command to continue an interrupted build.

    The plan is printed first. Exit codes: 0 the dataset is complete; 1 all images were tried, and more were rejected
    than --max-rejected allows; 2 a mistake in the command or input, more images refused by the plan already than
    --max-rejected allows, or no space left.

    Args:
        config: What to pack, and how.
        dry_run: Print the plan only; write nothing.
    """
    check_build(config)
    with continuing():
        from shards.packing.build import run_build

        return run_build(config, dry_run=dry_run)


def verify(datasets: Datasets, workers: Workers = -1) -> int:
    """Check that every byte of a dataset is as it was packed.

    Reads all of it: each file's checksum; the index against the tars and the DALI indexes, both ways; each image's
    checksum, decoding and size. Of a derived dataset (subset, merge), those it refers to are checked too. Run it after
    a copy or a download, and before a long training.

    Exit codes: 0 every byte is as it was packed; 1 damage was found, and is listed; 2 there is no dataset to check.

    Args:
        datasets: Dataset folders.
        workers: Processes; -1 takes all cores.
    """
    _require(datasets)
    from shards.checks.verify import verification_text, verify_dataset

    is_damaged = False
    for folder in datasets:
        start = time.perf_counter()
        found = verify_dataset(folder, workers=workers)
        print(verification_text(folder, found, seconds=time.perf_counter() - start))
        is_damaged |= bool(found.damages)
    return int(is_damaged)


def stats(datasets: Datasets, where: Conditions = (), output: Path | None = None, rejected: bool = False) -> None:
    """Count what datasets hold: labels by split, views, sizes, pictures that are there twice, leaks between splits.

    A leak is a patient, or the same picture, on both sides of a split: it makes test results too good. A picture is
    known again at another size, quality, format or gray scale, and mirrored or inverted in another split. Labels are
    counted as the release says them: present (1), absent (0), uncertain (-1), blank; what a blank means is told.

    Exit codes: 0 counted, whatever was found; 2 a mistake, such as a folder that is no dataset.

    Args:
        datasets: Dataset folders; several are counted as one.
        output: Also write the counts to this JSON file.
        rejected: List the files that the build refused, each with its reason, in place of counting; also of a build
            that refused too many.
    """
    _require(datasets)
    if rejected:
        from shards.checks.rejected import rejected_text

        print(rejected_text(datasets))
        return
    from shards.checks.stats import dataset_stats, write_stats
    from shards.checks.stats_text import stats_text
    from shards.derived import open_rows

    counted = dataset_stats(open_rows(datasets, where))
    print(stats_text(counted))
    if output is not None:
        write_stats(counted, output)
        print(f"\nwritten: {output}")


def preview(
    datasets: Datasets,
    output: Path = Path("preview.png"),
    where: Conditions = (),
    columns: Annotated[int, Field(ge=1, le=50)] = 6,
    rows: Annotated[int, Field(ge=1, le=100)] = 4,
    tile: Annotated[int, Field(ge=64, le=1024)] = 200,
    seed: Seed = 0,
) -> None:
    """Draw a contact sheet: random images in one PNG, each with its key, split, view and labels beneath.

    Look for images that are inverted, turned, cut or no chest X-rays, and for labels that cannot be true. For one
    finding alone: --where "Pleural Effusion=1".

    Exit codes: 0 written; 2 a mistake, such as a condition that no image meets.

    Args:
        datasets: Dataset folders.
        output: PNG file to write; one that is there is replaced.
        columns: Images side by side.
        rows: Rows of images.
        tile: Side of an image's square in pixels.
        seed: Which random images.
    """
    _require(datasets)
    from shards.checks.preview import check_sheet, contact_sheet, save_sheet

    check_sheet(output)
    from shards.derived import open_rows

    sheet = contact_sheet(open_rows(datasets, where), columns=columns, rows=rows, tile=tile, seed=seed)
    save_sheet(sheet, output)
    print(f"written: {output} ({sheet.width}x{sheet.height} px)")


def subset(
    datasets: Datasets,
    output: Path,
    where: Conditions = (),
    fraction: Share = 1.0,
    draw: Count = 0,
    by: Literal["patient", "image"] = "patient",
    nested: bool = False,
    seed: Seed = 0,
) -> None:
    """Write a selection of images as a small dataset folder of its own; no image is copied.

    The folder holds the chosen rows (index.parquet) and, for each tar, a DALI index of the chosen images alone. Give it
    wherever a dataset is asked for; keep the datasets it was drawn from where they are. First the conditions of --where
    choose, then the fraction is drawn from what they leave.

    Exit codes: 0 written; 2 a mistake, such as an output that exists or a condition that no image meets.

    Args:
        datasets: Dataset folders to select from.
        output: Folder to write; it must be new or empty.
        fraction: Share to draw, above 0 and at most 1.
        draw: Number of the draw: 0, 1, 2 ... are independent random draws.
        by: Draw whole patients, so that no patient is half in; or single images.
        nested: Make the draw a part of the same draw at any larger fraction, as draws in `eval` are; otherwise draws of
            different fractions are independent.
        seed: Seed of all draws.
    """
    _require(datasets)
    from shards.derived import open_rows, write_subset

    chosen = open_rows(datasets, where)
    drawn = chosen.fraction(fraction, draw=draw, by=by, seed=seed, nested=nested)
    selection = {"where": where, "fraction": fraction, "draw": draw, "by": by, "nested": nested, "seed": seed}
    written = write_subset(drawn, output, selection=selection)
    patients = f"{written.num_patients:,} of {chosen.num_patients:,} patients"
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
    from shards.derived import merge_datasets, merge_notes
    from shards.repeated import repeated_note

    written = merge_datasets(datasets, output)
    for note in [*merge_notes(written), repeated_note(written)]:
        if note:
            print(f"note: {note}")
    patients = f"{written.num_patients:,} patients in {len(datasets)} datasets"
    print(f"{output}: {len(written):,} images of {patients}; no image copied")


def phantom(config: OmitArgPrefixes[PhantomConfig]) -> None:
    """Write phantom CheXpert, MIMIC-CXR and Shenzhen releases: procedural radiographs in the real ones' layout."""
    check_phantom(config)
    from shards.phantom.write import run_phantom

    run_phantom(config)


def _require(datasets: tuple[Path, ...]) -> None:
    if not datasets:
        raise InputError(f"no dataset given; name one or more folders that `{as_called('shards build')}` wrote")


if __name__ == "__main__":
    run_command(main)
