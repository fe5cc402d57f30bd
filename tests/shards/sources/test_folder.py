import os
import zipfile

import pytest

from shards.base.errors import InputError
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release


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
    release = read_release("folder", open_files(root), SourceOptions())
    assert release.labels == ("NORMAL", "SICK")
    assert {(r.source_path, r.split, tuple(r.labels.items())) for r in release.records} == {
        ("train/NORMAL/a.jpeg", "train", (("NORMAL", 1), ("SICK", 0))),
        ("train/SICK/b.JPG", "train", (("NORMAL", 0), ("SICK", 1))),
        ("val/SICK/c.png", "valid", (("NORMAL", 0), ("SICK", 1))),
        ("test/NORMAL/d.png", "test", (("NORMAL", 1), ("SICK", 0))),
    }
    assert len({record.patient_id for record in release.records}) == 4


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (
            ["Training/N/a.png", "Testing/S/b.png"],
            {"Training/N/a.png": ("train", "N"), "Testing/S/b.png": ("test", "S")},
        ),
        (["TRAIN/N/a.png", "dev/S/b.png"], {"TRAIN/N/a.png": ("train", "N"), "dev/S/b.png": ("valid", "S")}),
        (
            ["set/data/train/N/a.png", "set/data/validate/S/b.png"],
            {"set/data/train/N/a.png": ("train", "N"), "set/data/validate/S/b.png": ("valid", "S")},
        ),
        (["N/train/a.png", "S/test/b.png"], {"N/train/a.png": ("train", "N"), "S/test/b.png": ("test", "S")}),
        (
            ["train/N/images/a.png", "train/N/masks/a.png", "test/S/images/b.png"],
            {"train/N/images/a.png": ("train", "N"), "test/S/images/b.png": ("test", "S")},
        ),
        (["train/images/a.png", "test/images/b.png"], {"train/images/a.png": ("train", None)}),
        (["xray/N/a.png", "xray/S/deep/b.png"], {"xray/N/a.png": ("train", "N"), "xray/S/deep/b.png": ("train", "S")}),
        (["A/train/N/a.png", "B/test/S/b.png"], {"A/train/N/a.png": ("train", "N"), "B/test/S/b.png": ("test", "S")}),
        (["train/Normal/a.png", "test/NORMAL/b.png"], {"train/Normal/a.png": ("train", "NORMAL")}),
        (
            ["train/train/N/a.png", "test/Test/S/b.png"],
            {"train/train/N/a.png": ("train", "N"), "test/Test/S/b.png": ("test", "S")},
        ),
        (["train/train/a.png", "test/test/b.png"], {"train/train/a.png": ("train", None)}),
        (["N/a.png", "S/deep/dev/b.png"], {"N/a.png": ("train", "N"), "S/deep/dev/b.png": ("train", "S")}),
        (["train\\N\\a.png", "test\\S\\b.png"], {"train\\N\\a.png": ("train", "N"), "test\\S\\b.png": ("test", "S")}),
    ],
)
def test_splits_and_classes_of_all_layouts(tmp_path, paths, found):
    release = read_release("folder", open_files(tree(tmp_path, *paths)), SourceOptions())
    read = {
        r.source_path: (r.split, next((name for name, value in r.labels.items() if value), None))
        for r in release.records
    }
    assert read | found == read
    assert not release.rejected
    assert len(read) == len([path for path in paths if "masks" not in path])


def test_what_was_found_is_told(tmp_path):
    def notes(name, *paths):
        return read_release("folder", open_files(tree(tmp_path / name, *paths)), SourceOptions()).notes

    assert notes("a", "train/N/a.png", "test/S/b.png") == []
    assert notes("b", "Training/N/a.png") == ["the only split folder is of train"]
    (note,) = notes("c", "N/a.png", "S/b.png")
    assert note.startswith("no folder is named as a split (train, ")
    assert note.endswith("so by its folders all is train; class folders N, S")
    assert notes("d", "train/masks/a.png", "train/a.png", "test/a.png") == [
        "1 images below folders of masks were left out, such as train/masks/a.png"
    ]


def test_a_copy_of_the_splits_beside_them_is_refused(tmp_path):
    root = tree(tmp_path, "xray/train/N/a.png", "xray/test/N/b.png", "xray/xray/train/N/a.png", "xray/__MACOSX/c.png")
    with pytest.raises(InputError, match=r"folder 'xray' beside split folders \(there is 'test'\)"):
        read_release("folder", open_files(root), SourceOptions())


def test_class_folders_alone_and_unlabelled_images(tmp_path):
    release = read_release(
        "folder", open_files(tree(tmp_path, "SICK/deep/a.png", "b.png", ".cache/c.png")), SourceOptions()
    )
    assert release.labels == ("SICK",)
    assert {(r.source_path, r.split, tuple(r.labels)) for r in release.records} == {
        ("SICK/deep/a.png", "train", ("SICK",)),
        ("b.png", "train", ()),
    }


def test_images_beside_the_splits_are_rejected_with_a_reason(tmp_path):
    release = read_release("folder", open_files(tree(tmp_path, "train/SICK/a.png", "b.png")), SourceOptions())
    assert [(row.source_path, row.reason) for row in release.rejected] == [("b.png", "no-split")]


def test_splits_mixed_with_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match="'NORMAL' beside split folders"):
        read_release("folder", open_files(tree(tmp_path, "train/SICK/a.png", "NORMAL/b.png")), SourceOptions())


def test_what_is_no_image_by_its_name_is_told(tmp_path):
    found = read_release("folder", open_files(tree(tmp_path, "SICK/a.png", "SICK/a.txt", "list.csv")), SourceOptions())
    assert found.notes[-1] == "2 files without an image's suffix were left out, such as SICK/a.txt"


def test_names_of_any_kind(tmp_path):
    long = "/".join(["x" * 200] * 4) + "/long.png"
    names = ["SÏCK/ä b.png", "SÏCK/肺.dcm", f"SÏCK/{long}"]
    root = tree(tmp_path, *names)
    try:
        tree(root, os.fsdecode(b"S\xffCK/\xfe.png"))
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    files = open_files(root)
    found = read_release("folder", files, SourceOptions())
    assert len(found.records) == 4
    for record in found.records:
        assert files.has(record.name)
        assert record.key.isascii()
        for text in (record.source_path, record.patient_id, *record.labels):
            text.encode("utf-8")
    assert r"S\udcffCK" in found.labels


def test_a_zip_is_read_as_the_folder_is(tmp_path):
    root = tree(tmp_path / "in", "train/SICK/a.png", "test/SICK/b.png", "test/WELL/c.png")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in root.rglob("*"):
            archive.write(path, path.relative_to(root))
    found = [read_release("folder", open_files(path), SourceOptions()) for path in (root, tmp_path / "in.zip")]
    assert found[0] == found[1]
