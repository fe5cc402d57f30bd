"""Servers that lie: what they serve is refused in one line, soon and in little memory, or it is the dataset."""

import gzip
import itertools
import json
import shutil
import time
import tracemalloc
from dataclasses import replace

import fsspec
import pytest

from shards.base.errors import InputError
from shards.format import manifest
from shards.format.manifest import write_manifest
from shards.index import ShardIndex
from shards.remote import answer, transfer
from shards.remote.cache import Cache
from tests.servers import FileServer, ranged
from tests.shards.remote.conftest import QUICK, images
from tests.shards.sealed import seal


def zeros(size=1 << 16, pause=0.0):
    while True:
        yield bytes(size)
        time.sleep(pause)


def with_range(text, body):
    return 206, {"Content-Range": text}, body


def pieces(head, body):
    return 0, {}, itertools.chain([head], body)


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


BOMB = gzip.compress(b"{" * 50_000_000)
HEAD = b"HTTP/1.1 206 Partial Content\r\n"
LIES = {  # of the file's bytes, and the start and end of the range that was asked for
    "zeros": lambda d, s, e: ranged(bytes(len(d)), (s, e)),
    "a flipped bit": lambda d, s, e: ranged(flipped(d, 3000), (s, e)),
    "the range before": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", d[max(0, s - 512) : e - 512]),
    "another start": lambda d, s, e: ranged(d, (s + 1, e)),
    "another end": lambda d, s, e: ranged(d, (s, e + 700)),
    "backwards": lambda d, s, e: with_range(f"bytes {e}-{s}/{len(d)}", d[s:e]),
    "a longer file": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d) + 9}", d[s:e]),
    "a shorter file": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d) - 9}", d[s:e]),
    "no end of the file": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/*", d[s : e - 1]),
    "a range in other words": lambda d, s, e: with_range("items 1-2/3", d[s : e - 1]),
    "no range": lambda d, s, e: (206, {}, d[s : e - 1]),
    "more than it says": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", d[s:e] + b"more"),
    "less than it says": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", d[s : e - 1]),
    "nothing": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", b""),
    "a byte at a time": lambda d, s, e: ranged(d, (s, s + 1)),
    "many ranges": lambda d, s, e: (206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n\r\n" + d[s:e]),
    "all of another file": lambda d, s, e: (200, {}, d[::-1]),
    "all and more": lambda d, s, e: (200, {}, d + b"more"),
    "no content": lambda d, s, e: (204, {}, b""),
    "not modified": lambda d, s, e: (304, {}, b""),
    "accepted": lambda d, s, e: (202, {}, d[s : e - 1]),
    "unknown status": lambda d, s, e: (299, {}, d[s : e - 1]),
    "a page": lambda d, s, e: (200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"),
    "a page without end": lambda d, s, e: (200, {"Content-Type": "text/html"}, zeros()),
    "a file without end": lambda d, s, e: (200, {}, zeros()),
    "a range without end": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", zeros()),
    "an error without end": lambda d, s, e: (500, {}, zeros()),
    "a bomb": lambda d, s, e: (200, {"Content-Encoding": "gzip"}, BOMB),
    "a packed range": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", gzip.compress(d[s:e])),
    "no such coding": lambda d, s, e: (206, {"Content-Encoding": "gzip"}, d[s:e]),
    "itself elsewhere": lambda d, s, e: (302, {"Location": "train-000000.tar"}, b""),
    "a file of mine": lambda d, s, e: (302, {"Location": "file:///etc/passwd"}, b""),
    "a redirect to nowhere": lambda d, s, e: (302, {}, b""),
    "no head": lambda d, s, e: pieces(b"\0\1\2\3 nonsense\r\n\r\n", [d[s:e]]),
    "a head without end": lambda d, s, e: pieces(HEAD, (b"X-More: " + b"x" * 900 + b"\r\n" for _ in itertools.count())),
    "a line without end": lambda d, s, e: pieces(HEAD + b"X-More: ", zeros()),
    "a negative length": lambda d, s, e: pieces(HEAD + b"Content-Length: -5\r\n\r\n", [d[s:e]]),
    "two lengths": lambda d, s, e: pieces(HEAD + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n", [d[s:e]]),
    "a chunk of no size": lambda d, s, e: pieces(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", [d[s:e]]),
    "cut at once": lambda d, s, e: pieces(HEAD + b"Content-Length: 99999\r\n\r\n", [d[s : s + 50]]),
    "closed": lambda d, s, e: pieces(b"", []),
    "a drip": lambda d, s, e: with_range(f"bytes {s}-{e - 1}/{len(d)}", zeros(1, 0.02)),
    "a dripping head": lambda d, s, e: pieces(HEAD + b"X-More: ", zeros(1, 0.02)),
}


@pytest.fixture
def cache(tmp_path):
    return Cache(folder=tmp_path / "cache", patience=replace(QUICK, tries=3))


@pytest.fixture
def impatient(monkeypatch, small_ranges):
    """What takes half a minute takes a tenth of a second."""
    monkeypatch.setattr(answer, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.3)


def outcome(address, cache):
    """All images, or why not, and the most memory that was taken."""
    tracemalloc.start()
    try:
        return images(ShardIndex.open(address, cache=cache)), tracemalloc.get_traced_memory()[1]
    except InputError as error:
        return str(error), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_lie_about_a_shard_is_believed(tiny_dataset, cache, impatient):
    whole = images(ShardIndex.open(tiny_dataset))
    assert len(LIES) > 31
    with FileServer(tiny_dataset.parent) as server:
        for lie, make in LIES.items():
            server.answers["train-000000.tar"] = lambda data, part, make=make: make(data, *part)
            since = time.monotonic()
            found, memory = outcome(f"{server.address}/tiny", cache)
            assert isinstance(found, str), lie
            assert "tiny/train-000000.tar: " in found, lie
            assert "\n" not in found, lie
            assert memory < 20_000_000, lie
            assert time.monotonic() - since < 20, lie
        server.answers.clear()
        assert images(ShardIndex.open(f"{server.address}/tiny", cache=cache)) == whole


@pytest.mark.parametrize("name", ["dataset.json", "index.parquet"])
def test_what_is_opened_first_has_an_end(tiny_dataset, cache, impatient, monkeypatch, name):
    monkeypatch.setattr(manifest, "MOST_MANIFEST_BYTES", 1_000_000)
    monkeypatch.setattr(transfer, "MOST_MANIFEST_BYTES", 1_000_000)
    spaces = itertools.chain([b'{"format_version": 1'], itertools.repeat(b" " * 100_000))
    bodies = {
        "without end": lambda data, part: (200, {}, spaces),
        "a bomb": lambda data, part: (200, {"Content-Encoding": "gzip"}, BOMB),
        "a drip": lambda data, part: (200, {}, itertools.chain([b"{"], zeros(1, 0.02))),
        "a dripping head": lambda data, part: pieces(HEAD + b"X-More: ", zeros(1, 0.02)),
    }
    with FileServer(tiny_dataset.parent) as server:
        for lie, make in bodies.items():
            server.answers[name] = make
            found, memory = outcome(f"{server.address}/tiny", cache)
            assert isinstance(found, str), lie
            assert f"tiny/{name}: " in found, lie
            assert memory < 20_000_000, lie


def written(folder, **changes):
    """A ``dataset.json`` that holds by its digest, whatever it says."""
    about = json.loads((folder / "dataset.json").read_text())
    write_manifest(folder, about | changes, changes.get("files", about["files"]))


CHECKSUM = {"bytes": 6000, "sha256": "0" * 64}
MANIFESTS = {
    "a file above": {"files": {"../secret.tar": CHECKSUM}},
    "no files": {"files": {}},
    "a negative size": {"files": {"index.parquet": CHECKSUM | {"bytes": -1}}},
    "an index of any size": {"files": {"index.parquet": CHECKSUM | {"bytes": 10**17}}},
    "a size in words": {"files": {"index.parquet": CHECKSUM | {"bytes": "6000"}}},
    "another version": {"format_version": 99},
    "itself as a member": {"members": [{"path": ".", "fingerprint": "f"}], "fingerprint": "f"},
    "a member above": {"members": [{"path": "../../../etc", "fingerprint": "f"}]},
    "a member anywhere": {"members": [{"path": "//example.org/x", "fingerprint": "f"}]},
    "a member with an address": {"members": [{"path": "http://example.org/x", "fingerprint": "f"}]},
}


@pytest.mark.parametrize("lie", MANIFESTS)
def test_no_lie_of_a_manifest_is_followed(tiny_dataset, tmp_path, cache, impatient, lie):
    served = shutil.copytree(tiny_dataset, tmp_path / "served" / "tiny")
    (served.parent / "secret.tar").write_bytes(b"secret" * 1000)
    written(served, **MANIFESTS[lie])
    with FileServer(served.parent) as server:
        found, _ = outcome(f"{server.address}/tiny", cache)
        assert isinstance(found, str)
        assert "\n" not in found
        assert not any("secret" in path or "etc" in path for path, _ in server.asked)


def test_members_without_end_are_not_followed(tiny_dataset, tmp_path, cache):
    served = shutil.copytree(tiny_dataset, tmp_path / "served" / "tiny")
    with FileServer(served.parent) as server:

        def member(data, part):
            folder = tmp_path / "member"
            folder.mkdir(exist_ok=True)
            path = f"../tiny?{len(server.asked)}"
            about = {"format_version": 1, "labels": [], "fingerprint": "f"}
            write_manifest(folder, about | {"members": [{"path": path, "fingerprint": "f"}]})
            return 200, {}, (folder / "dataset.json").read_bytes()

        server.answers["dataset.json"] = member
        found, _ = outcome(f"{server.address}/tiny", cache)
        assert isinstance(found, str)
        assert len(server.asked) < 20


def test_a_refused_connection_passes_wherever_it_is(cache, monkeypatch):
    """Of s3 as of http."""
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:1"})
    for address in ("http://127.0.0.1:1/tiny", "s3://films/tiny"):
        with pytest.raises(InputError, match="dataset.json: could not be fetched in 3 tries .*check the connection"):
            ShardIndex.open(address, cache=cache)


def test_a_slow_line_is_not_a_drip(tiny_dataset, cache, impatient, monkeypatch):
    monkeypatch.setattr(answer, "STALL_SECONDS", 0.2)

    def slowly(data, part):
        status, headers, body = ranged(data, part)
        size = len(body) // 6 + 1

        def parts():
            for start in range(0, len(body), size):
                time.sleep(0.05)
                yield body[start : start + size]

        return status, headers, parts()

    with FileServer(tiny_dataset.parent) as server:
        server.answers["test-000000.tar"] = slowly
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache).where(split="test")
        assert images(index) == images(ShardIndex.open(tiny_dataset).where(split="test"))


def test_a_changed_index_is_not_that_of_the_manifest(tiny_dataset, tmp_path, cache):
    served = shutil.copytree(tiny_dataset, tmp_path / "served" / "tiny")
    seal(served)
    with FileServer(served.parent) as server:
        server.damaged["index.parquet"] = 9
        found, _ = outcome(f"{server.address}/tiny", cache)
        assert "index.parquet: has other bytes (SHA-256)" in found
