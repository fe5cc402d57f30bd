"""Servers that cut, refuse and stay silent."""

import fsspec
import pytest

from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.remote.transfer import Patience
from tests.servers import FileServer, Proxy
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


def test_pauses_double_up_to_a_limit():
    patience = Patience()
    pauses = [[patience.pause(n) for _ in range(200)] for n in range(1, 8)]
    for n, some in enumerate(pauses):
        middle = min(16.0, 0.5 * 2**n)
        assert 0.5 * middle <= min(some) < max(some) <= 1.5 * middle
