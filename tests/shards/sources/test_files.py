import os
import pickle
import zipfile
from pathlib import Path

import pytest

from shards.base.errors import InputError
from shards.sources import files as files_module
from shards.sources.files import FolderFiles, ZipFiles, is_inside, open_files
from shards.sources.registry import takes_list

NAMES = {"a.txt": b"a", "deep/er/b.png": b"bb", "deep/ü ñ.png": b"ccc", ".hidden/x.png": b"", "deep/.DS_Store": b""}


@pytest.fixture(params=["folder", "zip", "zip in a folder"])
def files(request, tmp_path):
    if request.param == "folder":
        for name, data in NAMES.items():
            (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "root" / name).write_bytes(data)
        return open_files(tmp_path / "root")
    outer = "outer/" if "folder" in request.param else ""
    with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
        archive.writestr(f"{outer}__MACOSX/._a.txt", b"")
        for name, data in NAMES.items():
            archive.writestr(outer + name, data)
    return open_files(tmp_path / "root.zip").below(outer)


def test_folders_and_zips_list_and_read_alike(files):
    names = files.names()
    assert names == ["a.txt", "deep/er/b.png", "deep/ü ñ.png"]
    assert files.folders() == ["deep"]
    assert {name: files.read(name) for name in names} == {name: NAMES[name] for name in names}
    assert files.size("deep/er/b.png") == 2
    assert files.has("a.txt")
    assert not files.has("deep")
    assert not files.has("b.txt")
    below = files.below("deep")
    assert below.names() == ["er/b.png", "ü ñ.png"]
    assert below.below("er/").read("b.png") == b"bb"
    assert files.below("").names() == names
    assert files.below("none").names() == []
    with files.open("a.txt") as file:
        assert file.read(10) == b"a"


def test_they_can_be_sent_to_a_worker(files):
    files.read("a.txt")
    copy = pickle.loads(pickle.dumps(files))
    assert copy.read("deep/er/b.png") == b"bb"
    assert copy.label == files.label


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "deep/../../secret", "a\0b", "", "deep//b", "./a.txt"])
def test_names_that_leave_the_input_are_refused(files, name):
    assert not is_inside(name)
    assert not files.has(name)
    with pytest.raises(InputError, match="leaves the input"):
        files.read(name)
    if name:
        with pytest.raises(InputError, match="leaves the input"):
            files.below(name)


def test_missing_files(files):
    with pytest.raises(FileNotFoundError):
        files.read("none.png")
    with pytest.raises(FileNotFoundError):
        files.size("none.png")


def test_a_file_that_claims_too_much_is_not_read(files, monkeypatch):
    monkeypatch.setattr(files_module, "MAX_FILE_BYTES", 2)
    assert files.read("deep/er/b.png") == b"bb"
    with pytest.raises(OSError, match="3 bytes, over the 2"):
        files.read("deep/ü ñ.png")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "root" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "deep" / "a.png").write_bytes(b"a")
    return tmp_path / "root"


def test_links_inside_are_followed_and_loops_end(root):
    (root / "again").symlink_to(root / "deep")
    (root / "b.png").symlink_to(root / "deep" / "a.png")
    (root / "deep" / "up").symlink_to(root)
    (root / "deep" / "self").symlink_to(root / "deep" / "self")
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    files = FolderFiles(root)
    names = files.names()
    assert {"again/a.png", "b.png", "deep/a.png"} <= set(names)
    assert len(names) < 12
    assert files.read("again/a.png") == files.read("b.png") == b"a"
    with pytest.raises(OSError, match="symbolic links"):
        files.read("deep/self")


def test_links_out_of_the_input_are_refused(root):
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    files = FolderFiles(root)
    with pytest.raises(InputError, match=r"link\.txt is a link out of the input"):
        files.read("link.txt")
    (root / "out").symlink_to(root.parent)
    with pytest.raises(InputError, match="out is a link out of the input"):
        files.names()
    with pytest.raises(InputError, match="out of the input"):
        files.read("out/secret.txt")
    with pytest.raises(InputError, match="out of the input"):
        files.below("out")


def test_a_link_to_elsewhere_in_the_input_is_followed_from_below(root):
    (root / "other").mkdir()
    (root / "other" / "b.png").symlink_to(root / "deep" / "a.png")
    assert FolderFiles(root).below("other").read("b.png") == b"a"
    linked = root.parent / "linked"
    linked.symlink_to(root)
    assert FolderFiles(linked).read("deep/a.png") == b"a"


def test_pipes_and_folders_are_no_files(root):
    os.mkfifo(root / "pipe.png")
    files = FolderFiles(root)
    assert files.names() == ["deep/a.png"]
    with pytest.raises(OSError, match="not an ordinary file"):
        files.read("pipe.png")
    with pytest.raises(OSError, match="not an ordinary file"):
        files.read("deep")


def test_names_too_long_for_the_disk(root):
    files = FolderFiles(root)
    assert not files.has("x" * 300)
    with pytest.raises(OSError, match="too long"):
        files.read("x" * 300)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(root):
    (root / "deep" / "a.png").chmod(0)
    with pytest.raises(PermissionError):
        FolderFiles(root).read("deep/a.png")
    (root / "deep").chmod(0)
    try:
        with pytest.raises(InputError, match="deep: cannot be listed: Permission denied"):
            FolderFiles(root).names()
    finally:
        (root / "deep").chmod(0o700)


def test_what_the_system_refuses_is_said(root, monkeypatch):
    """As above, for those who test as root."""

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(PermissionError):
            FolderFiles(root).read("deep/a.png")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="cannot be listed: Permission denied"):
        FolderFiles(root).names()


def test_names_that_are_no_utf8(root):
    name = os.fsdecode(b"deep/b\xff.png")
    try:
        (root / name).write_bytes(b"b")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert FolderFiles(root).read(name) == b"b"


def test_what_is_no_zip(root):
    with pytest.raises(InputError, match=r"secret\.txt: is one file, and no zip; give the folder that holds it"):
        open_files(root.parent / "secret.txt")
    (root.parent / "cut.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"cut\.zip: cannot be read as a zip"):
        open_files(root.parent / "cut.zip")
    (root.parent / "Labels.CSV").write_text("a,b")
    with pytest.raises(InputError, match=r"Labels\.CSV: is a list; give the folder of the images$"):
        open_files(root.parent / "Labels.CSV")
    with pytest.raises(InputError, match=r"give the folder of the images, and the list by --csv$"):
        open_files(root.parent / "Labels.CSV", takes_list=takes_list("dicom"))
    assert not takes_list("folder")
    with pytest.raises(InputError, match="--reports .*none: no such folder or zip"):
        open_files(root / "none", flag="--reports")


def test_damage_inside_a_zip_is_an_error_of_that_file(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(range(256)) * 20)
        archive.writestr("b.png", b"b")
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(bytes(data))
    files = ZipFiles(path)
    with pytest.raises(OSError, match="damaged in the zip"):
        files.read("a.png")
    assert files.read("b.png") == b"b"


def test_a_zip_with_names_that_leave_it_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../a.png", b"")
    with pytest.raises(InputError, match="leaves the input"):
        open_files(tmp_path / "a.zip")


def test_names_in_a_zip_are_the_same_however_they_are_written(tmp_path):
    names = ["./train/a.png", "train\\b.png", ".\\train\\deep\\", "train//c.png", "./", "train/", "x/./y/d.png"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    files = pickle.loads(pickle.dumps(open_files(tmp_path / "a.zip")))
    assert files.names() == ["train/a.png", "train/b.png", "train/c.png", "x/y/d.png"]
    assert files.folders() == ["train", "x"]
    assert files.below("train").read("b.png") == b"train\\b.png"
    assert files.has("x/y/d.png")
    for name in ("/etc/passwd", "..\\a.png", "a/../../b.png"):
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr(name, b"")
        with pytest.raises(InputError, match="leaves the input"):
            open_files(tmp_path / "b.zip")


def test_encrypted_files_of_a_zip_are_not_permitted(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"a")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(PermissionError, match="encrypted in the zip"):
        open_files(tmp_path / "a.zip").read("a.png")


def test_folders_of_a_zip_with_like_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/1", "a-b/2", "a b/3", "a0/4", "a", "ab/5"):
            archive.writestr(name, b"")
    files = open_files(tmp_path / "a.zip")
    assert files.folders() == ["a", "a b", "a-b", "a0", "ab"]
    assert files.below("a").names() == ["1"]


def test_an_input_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"^--input .*: is no folder and no file; give the folder"):
            open_files(path)
