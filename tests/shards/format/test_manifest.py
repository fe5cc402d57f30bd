import hashlib
import json

import pytest

from shards.base.errors import InputError
from shards.format.manifest import digest_holds, file_checksum, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    about = {"format_version": 1, "name": "ä", "nested": {"digest": ""}, "labels": [], "fingerprint": "f"}
    about["image"] = {"format": "png"}
    write_manifest(tmp_path, about, {"a.bin": file_checksum(tmp_path / "a.bin")})
    return tmp_path


def test_what_is_written_is_read(folder):
    about = read_manifest(folder)
    assert about["name"] == "ä"
    assert about["files"] == {"a.bin": {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}}


def test_the_digest_is_of_the_text_without_it(folder):
    text = (folder / "dataset.json").read_text()
    digest = json.loads(text)["digest"]
    assert hashlib.sha256(text.replace(digest, "").encode()).hexdigest() == digest
    assert digest_holds(folder)


def test_any_changed_byte_breaks_the_digest(folder):
    path = folder / "dataset.json"
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not digest_holds(folder), place


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 2}', '{"format_version": 1'])
def test_what_is_no_manifest(folder, text):
    (folder / "dataset.json").write_text(text)
    assert not digest_holds(folder)
    with pytest.raises(InputError, match=r"is no JSON|format version"):
        read_manifest(folder)
