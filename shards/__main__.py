"""``python -m shards``: packs chest X-ray releases, and writes phantom ones.

python -m shards phantom --output phantom
python -m shards build --source chexpert --input phantom/CheXpert-v1.0-small --output data/chexpert
"""

import time
from collections.abc import Callable
from typing import Annotated

import tyro

from shards.build import BuildConfig, build_dataset
from shards.errors import run_command
from shards.phantom import PhantomConfig, write_phantom


def main() -> None:
    """Chest X-ray releases to tar shards with a Parquet index."""
    commands: dict[str, Callable[..., None]] = {"build": build, "phantom": phantom}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m shards")


def build(config: Annotated[BuildConfig, tyro.conf.OmitArgPrefixes]) -> None:
    """Pack a release into a dataset folder; repeat the command to continue an interrupted build."""
    start = time.perf_counter()
    totals = build_dataset(config)
    seconds = time.perf_counter() - start
    for note in totals.notes:
        print(f"note: {note}")
    print(
        f"{config.output}: {totals.num_source:,} images in = {totals.num_packed:,} packed + {totals.num_rejected:,} "
        f"rejected; {totals.num_patients:,} patients, {totals.num_bytes / 1e6:,.1f} MB, {seconds:.1f} s"
    )
    for reason, count in sorted(totals.rejected_by_reason.items()):
        print(f"  rejected, {reason}: {count:,} (see {config.output / 'rejected.parquet'})")


def phantom(config: Annotated[PhantomConfig, tyro.conf.OmitArgPrefixes]) -> None:
    """Write phantom CheXpert and Shenzhen releases: procedural radiographs in the real releases' layout."""
    totals = write_phantom(config)
    if totals["chexpert"]:
        train, valid = totals["chexpert_train_images"], totals["chexpert_valid_images"]
        print(f"{totals['chexpert']}: {train:,} train and {valid:,} valid images, {totals['chexpert_studies']:,} studies")
    if totals["shenzhen"]:
        print(f"{totals['shenzhen']}: {totals['shenzhen_images']:,} images")


if __name__ == "__main__":
    run_command(main)
