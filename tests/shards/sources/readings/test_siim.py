import csv
import gzip
import io

import pytest

from shards.format.boxes import Box
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles, real_list

ROWS = """ImageId, EncodedPixels
1.2.3.4, -1
1.2.3.5, 1034 5 1019 6
1.2.3.5,9 1
1.2.3.6,-1
1.2.3.6,5 5
1.2.3.7,5
"""


def test_masks_become_boxes():
    images = [f"dicom-images-train/x/y/1.2.3.{number}.png" for number in (4, 5, 6, 7, 8)]
    files = ListedFiles({"train-rle.csv": ROWS.encode()}, [*images, "dicom-images-test/1.2.3.9.png"])
    found = read_release("siim", files, SourceOptions())
    none, both = found.records
    assert (none.labels, none.boxes) == ({"Pneumothorax": 0}, ())
    assert (both.labels, both.box_frame) == ({"Pneumothorax": 1}, (1024, 1024))
    assert both.boxes == (Box("Pneumothorax", 1, 10, 2, 6), Box("Pneumothorax", 0, 9, 1, 1))
    assert [(one.source_path[-7:], one.reason) for one in found.rejected] == [
        ("1.2.3.6", "bad-row"),
        ("1.2.3.7", "bad-row"),
        ("3.8.png", "no-row"),
    ]


@pytest.mark.slow
def test_the_real_list():
    """12,954 rows of 12,047 images, 2,669 of them with pneumothorax in 3,576 masks."""
    data = real_list("siim-pneumothorax-train-rle.csv.gz")
    rows = list(csv.reader(io.StringIO(gzip.decompress(data).decode())))[1:]
    files = ListedFiles({"train-rle.csv.gz": data}, [f"train/{row[0]}.png" for row in rows])
    found = read_release("siim", files, SourceOptions())
    assert (len(rows), len(found.records), len(found.rejected)) == (12_954, 12_047, 0)
    assert sum(record.labels["Pneumothorax"] for record in found.records) == 2_669
    assert sum(len(record.boxes) for record in found.records) == 3_576
