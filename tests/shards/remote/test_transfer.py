"""Servers that cut, refuse and stay silent."""

import gzip
import os
import shutil

import fsspec
import pytest

from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.remote.transfer import Patience
from tests.servers import FileServer, Proxy, ranged
from tests.shards.remote.conftest import images


def test_cut_connections_go_on_where_they_were(tiny_dataset, cache, small_ranges):
    with FileServer(tiny_dataset.parent) as server, Proxy(server.port, cut_after=30_000) as proxy:
        index = ShardIndex.open(f"{proxy.address}/tiny", cache=cache)
        assert images(index) == images(ShardIndex.open(tiny_dataset))
        total = sum(path.stat().st_size for path in tiny_dataset.glob("*.tar"))
        assert proxy.num_cuts >= total // 60_000
        asked = [found for path, found in server.asked if path == "/tiny/train-000000.tar"]
        assert any(found and not found.startswith("bytes=0-") for found in asked)
        assert proxy.num_passed < 1.5 * total + 2 * (tiny_dataset / "index.parquet").stat().st_size  # none begun anew


def test_s3_with_cuts(tiny_dataset, cache, small_ranges, monkeypatch):
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket="films")
        for path in tiny_dataset.iterdir():
            client.upload_file(str(path), "films", f"data/tiny/{path.name}")
        with Proxy(port, cut_after=12_000, num_refused=2) as proxy:
            monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": proxy.address})
            index = ShardIndex.open("s3://films/data/tiny", cache=cache)
            assert images(index) == images(ShardIndex.open(tiny_dataset))
            assert proxy.num_cuts >= 3
            assert proxy.num_refused == 0
            with pytest.raises(InputError, match="not there"):
                ShardIndex.open("s3://films/data/other", cache=cache)
    finally:
        server.stop()


def test_refusals_that_pass(tiny_dataset, cache):
    with FileServer(tiny_dataset.parent) as server, Proxy(server.port, num_refused=5) as proxy:
        assert len(ShardIndex.open(f"{proxy.address}/tiny", cache=cache)) == 96
        assert proxy.num_refused == 0


def test_a_server_that_never_answers_is_given_up(cache):
    with Proxy(1) as proxy, pytest.raises(InputError, match=r"dataset.json: could not be fetched in 8 tries"):
        ShardIndex.open(f"{proxy.address}/tiny", cache=cache)


@pytest.mark.parametrize(("status", "message"), [(404, "not there"), (403, "no access"), (410, "HTTP 410")])
def test_what_does_not_pass_is_not_tried_again(tiny_dataset, cache, status, message):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        server.status["train-000000.tar"] = status
        with pytest.raises(InputError, match=rf"tiny/train-000000.tar: .*{message}") as caught:
            index.read(index.where(split="train").rows[0])
        assert "\n" not in str(caught.value)
        assert sum("train-000000.tar" in path for path, _ in server.asked) == 1


def test_a_server_without_ranges(tiny_dataset, cache, small_ranges):
    with FileServer(tiny_dataset.parent, knows_ranges=False) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        assert images(index) == images(ShardIndex.open(tiny_dataset))
        name = index.packed[0].folder / "train-000000.tar"
        data = name.read_bytes()
        name.unlink()
        part = name.with_name(f"{name.name}.{len(data)}.part")
        part.write_bytes(data[:20_000])  # as a killed process leaves it
        index.datasets.shards.drop(int(index.shard_numbers()[index.column("split") == "train"][0]))
        assert images(index) == images(ShardIndex.open(tiny_dataset))
        assert name.read_bytes() == data


PAGE = b"<html><head><title>Sign in</title><style>b {}</style></head><body>Hospital  network</body></html>"


def page(data, part):
    return 200, {"Content-Type": "text/html; charset=utf-8"}, PAGE


def long_page(data, part):
    return 200, {"Content-Type": "text/html"}, PAGE + b" " * len(data)


def note(data, part):
    return 200, {"Content-Type": "application/json"}, b'{"error": "quota exceeded"}'


def short(data, part):
    return 206, {"Content-Range": f"bytes {part[0]}-{part[1] - 1}/{len(data)}"}, data[part[0] : part[1] - 9]


def elsewhere(data, part):
    return 206, {"Content-Range": f"bytes 0-{part[1] - part[0] - 1}/{len(data)}"}, data[: part[1] - part[0]]


def packed(data, part):
    status, headers, body = ranged(gzip.compress(data), (5, 2000))
    return status, headers | {"Content-Encoding": "gzip"}, body


def accepted(data, part):
    return 202, {"Content-Type": "text/plain"}, b"come again later"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (page, r"HTTP 200 with 97 bytes of text/html \('Sign in Hospital network'\) instead of bytes .* to .* of"),
        (long_page, r"HTTP 200 with more than [\d,]+ bytes of text/html \('Sign in Hospital network'\)"),
        (note, r"HTTP 200 with 27 bytes of application/json \('{\"error\": \"quota exceeded\"}'\) instead of bytes"),
        (short, r"HTTP 206 with [\d,]+ bytes.*, said to be bytes .* to .*, instead of bytes"),
        (elsewhere, r"HTTP 206 with .*, said to be bytes 0 to .*, instead of bytes 16,384"),
        (packed, r"HTTP 206 with a part packed by gzip"),
        (accepted, r"HTTP 202 with 16 bytes of text/plain \('come again later'\)"),
    ],
)
def test_what_came_instead_of_a_range_is_told_after_a_few_tries(tiny_dataset, cache, small_ranges, answer, message):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        name = "train-000000.tar"

        def answer_later(data, part):
            return ranged(data, part) if part[0] == 0 else answer(data, part)

        server.answers[name] = answer_later
        with pytest.raises(InputError, match=rf"tiny/{name}: could not be fetched in 8 tries \({message}") as caught:
            index.read(index.where(split="train").rows[0])
        assert "\n" not in str(caught.value)
        assert sum(name in path for path, _ in server.asked) == 1 + 8
        del server.answers[name]
        assert images(index) == images(ShardIndex.open(tiny_dataset))  # and goes on where it was


def test_pages_that_pass_are_waited_for(tiny_dataset, cache, small_ranges):
    with FileServer(tiny_dataset.parent) as server:
        index, left = ShardIndex.open(f"{server.address}/tiny", cache=cache), [page, short, note]
        for path in tiny_dataset.glob("*.tar"):
            server.answers[path.name] = lambda data, part: left.pop()(data, part) if left else ranged(data, part)
        assert images(index) == images(ShardIndex.open(tiny_dataset))
        assert not left


def test_a_server_that_gives_less_than_was_asked_and_says_so(tiny_dataset, cache, small_ranges):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        for path in tiny_dataset.glob("*.tar"):
            server.answers[path.name] = lambda data, part: ranged(data, (part[0], min(part[1], part[0] + 5000)))
        assert images(index) == images(ShardIndex.open(tiny_dataset))


@pytest.mark.parametrize(
    "answer",
    [
        lambda data, part: ranged(data + b"more", part),
        lambda data, part: (200, {"Content-Type": "application/x-tar"}, data + b"more"),
        lambda data, part: (416, {"Content-Range": f"bytes */{part[0]}"}, b""),
    ],
)
def test_a_file_of_another_size_is_told_at_once(tiny_dataset, cache, small_ranges, answer):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        server.answers["train-000000.tar"] = answer
        with pytest.raises(InputError, match=r"train-000000.tar: (has another size|is shorter there).*copy the whole"):
            index.read(index.where(split="train").rows[0])
        assert sum("train-000000.tar" in path for path, _ in server.asked) == 1


def test_a_login_page_instead_of_a_manifest(tiny_dataset, cache, caplog):
    with FileServer(tiny_dataset.parent) as server:
        address = f"{server.address}/tiny"
        server.answers["dataset.json"] = page
        message = (
            r"dataset.json: could not be fetched in 8 tries .HTTP 200 with 97 bytes of text/html .'Sign in Hospital"
        )
        with pytest.raises(InputError, match=message):
            ShardIndex.open(address, cache=cache)
        (tiny_dataset.parent / "login").write_bytes(PAGE)
        server.answers["dataset.json"] = lambda data, part: (302, {"Location": "/login?token=secret"}, b"")
        with pytest.raises(InputError, match=rf"HTTP 200 with 97 bytes of .*, by {server.address}/login, in") as caught:
            ShardIndex.open(address, cache=cache)
        assert "secret" not in str(caught.value)
        server.answers.clear()
        whole = images(ShardIndex.open(address, cache=cache))
        server.answers["dataset.json"] = page
        assert images(ShardIndex.open(address, cache=cache)) == whole  # the copy that was served last
        assert "cannot be reached; using the copy of" in caplog.text


def test_files_that_end_early_elsewhere(tiny_dataset, tmp_path, cache):
    shutil.copytree(tiny_dataset, tmp_path / "tiny")
    index = ShardIndex.open(f"file://{tmp_path}/tiny", cache=cache)
    os.truncate(tmp_path / "tiny" / "train-000000.tar", 1000)
    with pytest.raises(InputError, match=r"in 8 tries .1,000 bytes instead of bytes 0 to [\d,]+ of"):
        index.read(index.where(split="train").rows[0])


def test_pauses_double_up_to_a_limit():
    patience = Patience()
    pauses = [[patience.pause(n) for _ in range(200)] for n in range(1, 8)]
    for n, some in enumerate(pauses):
        middle = min(16.0, 0.5 * 2**n)
        assert 0.5 * middle <= min(some) < max(some) <= 1.5 * middle
