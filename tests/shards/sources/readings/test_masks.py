from shards.format.boxes import Box
from shards.sources.readings.masks import read_masks
from tests.shards.sources.listed_files import ListedFiles


def test_boxes_image_by_image():
    files = ListedFiles({"a.csv": b"image,rle\nx.dcm,0 2\nx,9 1\ny,-1\nz,-1\nz,1 1\nw,1 2 3\n"})
    boxes, problems = read_masks(files, "a.csv", "drain", image="image", pixels="rle", side=8)
    assert boxes["x"] == [Box("drain", 0, 0, 1, 2), Box("drain", 1, 1, 1, 1)]
    assert boxes["y"] == []
    assert problems == {
        "z": "one row says that there is no drain, and another has a mask of it",
        "w": "line 7: rle is no mask of 8 x 8 pixels",
    }
