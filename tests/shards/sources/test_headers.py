"""Headers that nest without end, are inflated to any size or are cut anywhere: refused, in another process."""

import random
import zlib

import pytest

import shards.sources.headers
from shards.sandbox.sandbox import Limits
from shards.sources.files import open_files
from shards.sources.headers import read_headers
from tests.shards.dicom_files import dicom_bytes
from tests.shards.images.pictures import RAMP

_META = b"\2\0\x10\0UI" + (20).to_bytes(2, "little") + b"1.2.840.10008.1.2.1\0"
_DEFLATED = b"\2\0\x10\0UI" + (22).to_bytes(2, "little") + b"1.2.840.10008.1.2.1.99"


def file(meta, body):
    return bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta + body


def inflated(num_bytes):
    """A deflated file of one private element of that size."""
    deflate = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    head = b"\x09\0\1\x10OB\0\0" + num_bytes.to_bytes(4, "little")
    parts = [deflate.compress(part) for part in (head, bytes(num_bytes))]
    return file(_DEFLATED, b"".join([*parts, deflate.flush()]))


def nested(depth):
    sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
    return file(_META, sequence * depth)


@pytest.fixture
def read(tmp_path):
    def read(*files):
        for number, data in enumerate(files):
            (tmp_path / f"{number:04d}.dcm").write_bytes(data)
        listed = open_files(tmp_path)
        return list(read_headers(listed, listed.names()))

    return read


def test_bombs_are_refused_and_the_others_read(read, monkeypatch):
    monkeypatch.setattr(shards.sources.headers, "LIMITS", Limits(memory_bytes=64 << 20))
    good = dicom_bytes(RAMP)
    first, bomb, deep, last = read(good, inflated(100 << 20), nested(100_000), good)
    assert first == last
    assert first["PatientID"] == "MRN-0001"
    assert (bomb.reason, bomb.source_path) == ("too-much-memory", "0001.dcm")
    assert bomb.message == "decoding takes more than 67.1 MB of memory: the file is damaged"
    assert deep.reason == "damaged"


def test_headers_cut_or_changed_anywhere_are_read_or_refused(read):
    chance, good = random.Random(0), dicom_bytes(RAMP)[:2000]
    broken = [good[: chance.randrange(132, len(good))] for _ in range(50)]
    for _ in range(150):
        data = bytearray(good)
        for place in chance.sample(range(132, len(data)), 3):
            data[place] = chance.choice((0, 255, chance.randrange(256)))
        broken.append(bytes(data))
    assert len(read(*broken)) == len(broken)


def test_what_is_missing_is_said(tmp_path):
    [refused] = read_headers(open_files(tmp_path), ["gone.dcm"])
    assert (refused.reason, refused.source_path) == ("unreadable", "gone.dcm")
