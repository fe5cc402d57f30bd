from shards.sources.copies import images_by_stem, join_images, stem
from shards.sources.record import Record, Rejected
from tests.shards.sources.listed_files import ListedFiles


def record(name):
    return Record(key=name, name=name, source_path=name, split="train", patient_id=name, study_id=name)


def test_names_without_what_is_a_suffix_of_images():
    assert stem("a/1.2.840.5.dcm.png") == "1.2.840.5"
    assert stem("1.2.840.5") == "1.2.840.5"
    assert stem("JPCLN001.IMG") == "JPCLN001.IMG"
    assert stem("JPCLN001.IMG", (".img",)) == "JPCLN001"


def test_masks_and_texts_are_no_images():
    files = ListedFiles({}, ["x/a.png", "masks/a.png", "x/lung_masks/a.png", "notes.txt", "1.2.840.7", "b"])
    assert images_by_stem(files) == {"a": ["x/a.png"]}
    assert images_by_stem(files, also=("",)) == {"a": ["x/a.png"], "1.2.840.7": ["1.2.840.7"], "b": ["b"]}


def test_each_image_and_each_row_is_packed_refused_or_told():
    images = {"a": ["r/a.png"], "b": ["r/b.png", "r/x/b.png"], "d": ["r/d.png"], "e": ["r/e.png"], "t": ["r/t.png"]}
    listed = [record("a"), record("b"), record("c"), Rejected(source_path="d.png", reason="bad-row", message="?")]
    records, rejected, notes = join_images(listed, images, prefix="r/", left_out=["r/t.png"])
    assert [(one.name, one.source_path) for one in records] == [("r/a.png", "a.png")]
    assert [(one.source_path, one.reason) for one in rejected] == [
        ("b.png", "duplicate"),
        ("d.png", "bad-row"),
        ("e.png", "no-row"),
    ]
    assert notes == [
        "1 of the 2 listed images are not in this copy",
        "1 images have no list of labels in this release and were left out, such as r/t.png",
    ]
