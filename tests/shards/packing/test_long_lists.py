"""The whole lists of the largest releases, as they are, become a plan in under ten seconds of one core."""

import csv
import gzip
import io
import time
from pathlib import Path

import pytest

from shards.packing import plan as planning
from shards.packing.config import BuildConfig
from tests.shards.sources.listed_files import ListedFiles, real_list

PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
MOST_SECONDS = 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "packaged", "name", "image", "num_images"),
    [
        ("chexpert", "chexpert_train.csv.gz", "CheXpert-v1.0-small/train.csv", "{Path}", 223_414),
        ("padchest", f"{PADCHEST}.gz", PADCHEST, "images/{ImageID}", 160_861),
    ],
)
def test_a_whole_list_becomes_a_plan(
    source: str, packaged: str, name: str, image: str, num_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = gzip.decompress(real_list(packaged))
    files = ListedFiles({name: text}, [image.format_map(row) for row in csv.DictReader(io.StringIO(text.decode()))])
    monkeypatch.setattr(planning, "open_files", lambda path: files)
    begin = time.process_time()
    plan = planning.make_plan(BuildConfig(source=source, input=Path("in"), output=Path("out"), workers=1))
    seconds = time.process_time() - begin
    print(f"{source}: {len(plan.records):,} images in {seconds:.1f} s of processor time")
    assert len(plan.records) == num_images
    assert seconds < MOST_SECONDS
