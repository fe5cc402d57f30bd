import pytest

from shards.errors import InputError
from shards.sources import read_release


def tree(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_split_and_class_folders(tmp_path):
    root = tree(
        tmp_path,
        "train/NORMAL/a.jpeg",
        "train/SICK/b.JPG",
        "val/SICK/c.png",
        "test/NORMAL/d.png",
        "train/NORMAL/notes.txt",
    )
    release = read_release("folder", root)
    assert release.labels == ("NORMAL", "SICK")
    assert {(r.source_path, r.split, tuple(r.labels.items())) for r in release.records} == {
        ("train/NORMAL/a.jpeg", "train", (("NORMAL", 1), ("SICK", 0))),
        ("train/SICK/b.JPG", "train", (("NORMAL", 0), ("SICK", 1))),
        ("val/SICK/c.png", "valid", (("NORMAL", 0), ("SICK", 1))),
        ("test/NORMAL/d.png", "test", (("NORMAL", 1), ("SICK", 0))),
    }
    assert len({record.patient_id for record in release.records}) == 4


def test_class_folders_alone_and_unlabelled_images(tmp_path):
    release = read_release("folder", tree(tmp_path, "SICK/deep/a.png", "b.png", ".cache/c.png"))
    assert release.labels == ("SICK",)
    assert {(r.source_path, r.split, tuple(r.labels)) for r in release.records} == {
        ("SICK/deep/a.png", "train", ("SICK",)),
        ("b.png", "train", ()),
    }


def test_images_beside_the_splits_are_rejected_with_a_reason(tmp_path):
    release = read_release("folder", tree(tmp_path, "train/SICK/a.png", "b.png"))
    assert [(row.source_path, row.reason) for row in release.rejected] == [("b.png", "no-split")]


def test_splits_mixed_with_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match="'NORMAL' beside split folders"):
        read_release("folder", tree(tmp_path, "train/SICK/a.png", "NORMAL/b.png"))
