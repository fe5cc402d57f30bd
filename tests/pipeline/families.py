"""A small dataset whose patients have several studies, and studies several images."""

import csv
from pathlib import Path

from PIL import Image

from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from tests.conftest import draw_pattern

STUDIES = [[1], [3], [2, 1], [1, 2, 2]]  # images of each study of a patient


def pack_families(folder: Path) -> Path:
    """48 images of 16 patients in shards of 4, of 5 sizes, frontal and lateral in turn; studies are named 1, 2, 3
    within each patient."""
    (folder / "source").mkdir()
    rows: list[tuple[str, str, int, str]] = []
    for patient in range(16):
        for study, num_images in enumerate(STUDIES[patient % 4], start=1):
            for _ in range(num_images):
                i = len(rows)
                pattern = draw_pattern(i, has_blob=i % 2 == 0, width=60 + 7 * (i % 5), height=64)
                Image.fromarray(pattern).save(folder / "source" / f"{i:02d}.png")
                rows.append((f"{i:02d}.png", f"p{patient}", study, ("frontal", "lateral")[i % 2]))
    with (folder / "source" / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "patient", "study", "view"), *rows])
    options = SourceOptions(
        csv=Path("list.csv"),
        path_column="file",
        patient_column="patient",
        study_column="study",
        view_column="view",
    )
    config = BuildConfig(
        source="table",
        input=folder / "source",
        output=folder / "families",
        size=64,
        shard_images=4,
        workers=1,
        source_options=options,
    )
    build_dataset(config)
    return folder / "families"


def groups(index: ShardIndex, by: str) -> tuple[dict[int, tuple[str, str]], dict[tuple[str, str], set[int]]]:
    """Row number to what its partners have in common, and that to its rows."""
    studies = index.column("study_id") if by == "study" else [""] * len(index)
    names = zip(index.column("patient_id"), studies, strict=True)
    of_row = dict(zip(index.rows.tolist(), names, strict=True))
    members = {name: {row for row in of_row if of_row[row] == name} for name in of_row.values()}
    return of_row, members
