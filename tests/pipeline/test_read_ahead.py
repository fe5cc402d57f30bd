"""Read-ahead over a dataset elsewhere: order, bounds, what is kept and what let go, errors, and the end."""

import threading
import time

import numpy as np
import pytest

from pipeline.order import Order
from pipeline.read_ahead import ReadAhead
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.remote.cache import Cache, locked
from shards.remote.transfer import Patience
from tests.conftest import write_patterns
from tests.servers import FileServer, Proxy

QUICK = Patience(first_seconds=0.005, longest_seconds=0.02)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A dataset of 12 shards of 8 images."""
    folder = tmp_path_factory.mktemp("many")
    source = write_patterns(folder / "source", {"train": 48})
    build_dataset(
        BuildConfig(source="folder", input=source, output=folder / "many", size=64, shard_images=8, workers=1)
    )
    return folder / "many"


@pytest.fixture
def server(packed):
    with FileServer(packed.parent) as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return Cache(folder=tmp_path / "cache", patience=QUICK)


def shard_bytes(packed):
    return max(path.stat().st_size for path in packed.glob("*.tar"))


def order(index, shuffle="shards", **settings):
    shards = index.shard_numbers()
    picks = Order(len(index), seed=3, batch_size=8, shuffle=shuffle, shards=shards, last="short", **settings)
    return index.rows[np.concatenate([batch.positions for batch in picks.batches(0)])]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_shards_come_in_the_order_of_their_use_and_not_too_far_ahead(packed, server, cache):
    index = ShardIndex.open(f"{server.address}/many", cache=cache)
    rows = order(index, window=1)
    wanted = [index.place(row).tar.name for row in rows[::8].tolist()]
    with ReadAhead(index, rows, shards_ahead=2) as stream:
        wait_for(lambda: len(server.count()) == 3)
        time.sleep(0.1)
        assert sorted(server.count()) == sorted(f"/many/{name}" for name in wanted[:3])  # the first, and two ahead
        stream.advance(8)
        wait_for(lambda: len(server.count()) == 4)
        assert f"/many/{wanted[3]}" in server.count()
    asked = [path.rpartition("/")[2] for path, _ in server.asked if path.endswith(".tar")]
    assert all(abs(wanted.index(name) - place) <= 1 for place, name in enumerate(asked))


def test_no_more_than_so_many_in_flight(server, cache, monkeypatch):
    index = ShardIndex.open(f"{server.address}/many", cache=cache)
    lock, now, most = threading.Lock(), [0], [0]
    fetch = type(index.packed[0].remote)._fetch

    def counted(*arguments):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        file = fetch(*arguments)
        with lock:
            now[0] -= 1
        return file

    monkeypatch.setattr("shards.remote.folder.RemoteFolder._fetch", counted)
    with ReadAhead(index, order(index, "global"), shards_ahead=3):
        wait_for(lambda: len(list(cache.folder.rglob("*.tar"))) == 12)
    assert most[0] == 3


def test_an_epoch_through_a_small_cache(packed, server, tmp_path):
    cache = Cache(folder=tmp_path / "small", num_bytes=5 * shard_bytes(packed), patience=QUICK)
    index, local = ShardIndex.open(f"{server.address}/many", cache=cache), ShardIndex.open(packed)
    for _ in range(2):
        rows = order(index, window=2)
        with ReadAhead(index, rows) as stream:
            for start in range(0, len(rows), 8):
                for row in rows[start : start + 8].tolist():
                    assert bytes(index.read(row)) == bytes(local.read(row))
                stream.advance(8)
                with locked(cache.folder / "room.lock"):  # nothing is evicted while it is counted
                    kept = sum(path.stat().st_size for path in cache.folder.rglob("*.tar"))
                assert kept <= cache.num_bytes
    assert all(count in (1, 2) for count in server.count().values())


def test_more_shards_at_once_than_may_be_open_are_refused(server, cache, monkeypatch):
    index = ShardIndex.open(f"{server.address}/many", cache=cache)
    monkeypatch.setattr("pipeline.read_ahead.allow_open_files", lambda _: 11)
    with pytest.raises(InputError, match=r"needs 12 remote shards open at once.*may open 11 of them.*ulimit -n 24"):
        ReadAhead(index, order(index, "global"))
    ReadAhead(index, order(index, "shards", window=4)).close()


def test_what_is_needed_is_kept_and_what_is_not_is_let_go(server, cache):
    index = ShardIndex.open(f"{server.address}/many", cache=cache)
    rows = order(index, "none")
    with ReadAhead(index, rows, shards_ahead=2) as stream:
        wait_for(lambda: index.datasets.shards.num_open == 3)
        stream.advance(24)
        wait_for(lambda: len(server.count()) == 6)
        wait_for(lambda: index.datasets.shards.num_open == 3)
        first = int(index.shard_numbers()[0])
        assert first not in index.datasets.shards._kept
        assert index.datasets.tars[first].is_file()  # evicted only when its room is needed


def test_a_global_order_that_does_not_fit_is_refused(packed, server, tmp_path):
    cache = Cache(folder=tmp_path / "small", num_bytes=5 * shard_bytes(packed), patience=QUICK)
    index = ShardIndex.open(f"{server.address}/many", cache=cache)
    with pytest.raises(InputError, match=r"holds .* kB, but this order needs .* \(12 of 12\); shuffle by shards"):
        ReadAhead(index, order(index, "global"))
    assert not server.count()
    assert not threads()


def test_an_error_comes_with_the_read_of_its_shard(packed, server, cache):
    index = ShardIndex.open(f"{server.address}/many", cache=cache)
    rows = order(index, "none")
    server.status[index.place(rows[8]).tar.name] = 404
    with ReadAhead(index, rows) as stream:
        wait_for(lambda: len(server.count()) == 5)
        for row in rows[:8].tolist():
            index.read(row)
        stream.advance(8)
        with pytest.raises(InputError, match=r"many/train-000001.tar: not there \(404\)"):
            index.read(rows[8])
        assert bytes(index.read(rows[16])) == bytes(ShardIndex.open(packed).read(rows[16]))


@pytest.mark.parametrize("trouble", ["slow", "gone"])
def test_closing_is_prompt_and_leaves_no_thread(server, tmp_path, trouble):
    cache = Cache(folder=tmp_path / "cache", patience=Patience(first_seconds=60, longest_seconds=60))
    with Proxy(server.port) as proxy:
        index = ShardIndex.open(f"{proxy.address}/many", cache=cache)
        proxy.bytes_per_second = 100.0
        proxy.num_refused = 100 if trouble == "gone" else 0
        proxy.cut_after = 1 if trouble == "gone" else None
        stream = ReadAhead(index, order(index))
        assert len(threads()) == 4
        time.sleep(0.2)
        start = time.monotonic()
        stream.close()
        stream.close()
        stream.advance(8)
        assert time.monotonic() - start < 1
        assert not threads()


def test_two_ranks_share_a_cache(packed, server, cache):
    index = [ShardIndex.open(f"{server.address}/many", cache=cache) for _ in range(2)]
    streams = [ReadAhead(one, order(one, rank=rank, world_size=2)) for rank, one in enumerate(index)]
    local = ShardIndex.open(packed)
    for rank, one in enumerate(index):
        for row in order(one, rank=rank, world_size=2).tolist():
            assert bytes(one.read(row)) == bytes(local.read(row))
    for stream in streams:
        stream.close()
    assert set(server.count().values()) == {1}


def test_a_local_dataset_needs_none(packed):
    index = ShardIndex.open(packed)
    with ReadAhead(index, index.rows) as stream:
        stream.advance(8)
        assert not threads()


def test_progress_of_the_first_shards_is_shown(server, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("shards.base.bar.LINE_SECONDS", 0.5)
    with Proxy(server.port) as proxy:
        index = ShardIndex.open(f"{proxy.address}/many", cache=Cache(folder=tmp_path / "cache", patience=QUICK))
        proxy.bytes_per_second = 15_000.0
        with ReadAhead(index, order(index), shards_ahead=1):
            wait_for(lambda: "B/s" in capfd.readouterr().err)
