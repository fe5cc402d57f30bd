from shards.format.boxes import Box
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles

TRAIN = """image_name,annotation
00001.jpg,0 10 20 30 50;1 100 100 120 110;2 5 5 25 5 15 40
00002.jpg,
00003.jpg,3 1 2 3 4
00004.jpg,2 1 2 3
00005.jpg,0 30 20 10 50
"""
DEV = "image_path,annotation\n/data/dev/08001.jpg,\n"


def test_shapes_become_boxes_and_dev_is_valid():
    images = [f"train/0000{number}.jpg" for number in range(1, 6)] + ["dev/08001.jpg", "test/09001.jpg"]
    found = read_release(
        "objectcxr", ListedFiles({"train.csv": TRAIN.encode(), "dev.csv": DEV.encode()}, images), SourceOptions()
    )
    first, second, dev = found.records
    name = "Foreign Object"
    assert first.boxes == (Box(name, 10, 20, 20, 30), Box(name, 100, 100, 20, 10), Box(name, 5, 5, 20, 35))
    assert (first.labels, second.labels, second.boxes) == ({name: 1}, {name: 0}, ())
    assert (dev.split, dev.source_path) == ("valid", "dev/08001.jpg")
    assert [one.source_path for one in found.rejected] == ["00003.jpg", "00004.jpg", "00005.jpg"]
    assert found.notes == [
        "1 images have no list of labels in this release and were left out, such as test/09001.jpg",
    ]
