import csv
import gzip
import io

import pytest

from shards.format.boxes import Box
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles, real_list

TRAIN = """image_id,rad_id,class_name,x_min,y_min,x_max,y_max
a,R8,Cardiomegaly,10,20,110,220
a,R8,Nodule/Mass,5,5,9,9
a,R9,Cardiomegaly,12,22,112,222
a,R10,No finding,,,,
b,R8,No finding,,,,
b,R9,No finding,,,,
b,R10,No finding,,,,
c,R8,ILD,30,20,10,40
"""
TEST = """image_id,class_name,x_min,y_min,x_max,y_max
t,Pneumothorax,1,2,3,4
u,No finding,,,,
"""
IMAGES = ["train/a.png", "train/b.png", "train/c.png", "test/t.png", "test/u.png"]


def read(contents, images=IMAGES, **options):
    files = ListedFiles({name: text.encode() for name, text in contents.items()}, images)
    found = read_release("vindr", files, SourceOptions(**options))
    return found, {record.key: record for record in found.records}


@pytest.mark.parametrize(("readers", "nodule"), [("vote", 0), ("union", 1)])
def test_readers_agree_by_vote_or_union(readers, nodule):
    found, records = read({"annotations/annotations_train.csv": TRAIN}, readers=readers)
    assert found.labels[-1] == "No finding"
    labels = records["a"].labels
    assert (labels["Cardiomegaly"], labels["Nodule/Mass"], labels["No finding"]) == (1, nodule, 0)
    assert records["b"].labels["No finding"] == 1
    assert records["a"].boxes == (
        Box("Cardiomegaly", 10, 20, 100, 200, "R8"),
        Box("Nodule/Mass", 5, 5, 4, 4, "R8"),
        Box("Cardiomegaly", 12, 22, 100, 200, "R9"),
    )
    assert records["b"].boxes == (), "somebody looked and drew nothing"


def test_the_test_set_is_agreed_on_and_bad_boxes_are_refused():
    found, records = read({"annotations_train.csv": TRAIN, "annotations_test.csv": TEST})
    assert (records["t"].split, records["t"].labels["Pneumothorax"], records["a"].split) == ("test", 1, "train")
    assert records["t"].boxes == (Box("Pneumothorax", 1, 2, 2, 2, None),)
    assert [(one.source_path, one.message) for one in found.rejected] == [("c", "line 9: no box of ILD")]


def test_labels_of_whole_images_count_where_they_are_there():
    labels = "image_id,rad_id,Cardiomegaly,Pneumonia,No finding\na,R8,1,1,0\na,R9,1,1,0\na,R10,0,0,1\nb,R8,0,0,1\n"
    _, records = read({"annotations_train.csv": TRAIN, "image_labels_train.csv": labels})
    assert records["a"].labels == {"Cardiomegaly": 1, "No finding": 0, "Pneumonia": 1}
    assert records["b"].labels["No finding"] == 1


def test_images_without_a_list_are_told():
    found, records = read({"train.csv": TRAIN})
    assert set(records) == {"a", "b"}
    assert found.notes[0].startswith("2 images have no list of labels in this release")


@pytest.mark.slow
def test_the_real_list():
    """Its release states 15,000 images, each read by 3 of 17 radiologists; Kaggle's list of them has 67,914 rows."""
    data = real_list("vinbigdata-train.csv.gz")
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(data).decode())))
    files = ListedFiles({"train.csv.gz": data}, [f"train/{one}.png" for one in {row["image_id"] for row in rows}])
    found = read_release("vindr", files, SourceOptions())
    assert (len(rows), len(found.records), len(found.rejected), len(found.labels)) == (67_914, 15_000, 0, 15)
    boxes = [box for record in found.records for box in record.boxes]
    assert len(boxes) == sum(row["class_name"] != "No finding" for row in rows) == 36_096
    assert len({box.reader for box in boxes}) <= 17
