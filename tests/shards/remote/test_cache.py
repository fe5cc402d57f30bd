"""Processes and threads that share a cache, and caches without room."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.remote import cache as cache_module
from shards.remote import transfer
from shards.remote.cache import Cache
from tests.conftest import ROOT
from tests.servers import FileServer, Proxy
from tests.shards.remote.conftest import QUICK, images

READ_ALL = """
import sys
from pathlib import Path
from shards.remote.cache import Cache
from shards.index import ShardIndex
index = ShardIndex.open(sys.argv[1], cache=Cache(folder=Path(sys.argv[2])))
print(sum(len(index.read(row)) for row in index.rows))
"""


def reader(address, cache):
    command = [sys.executable, "-c", READ_ALL, address, str(cache.folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_share_a_cache(tiny_dataset, cache):
    with FileServer(tiny_dataset.parent) as server, Proxy(server.port, bytes_per_second=1_000_000) as proxy:
        readers = [reader(f"{proxy.address}/tiny", cache) for _ in range(2)]
        sums = {process.communicate()[0] for process in readers}
        assert sums == {str(sum(map(len, images(ShardIndex.open(tiny_dataset))))).encode() + b"\n"}
        assert set(server.count().values()) == {1}


def test_a_killed_process_leaves_no_lock_and_its_part_is_gone_on_with(tiny_dataset, cache, monkeypatch):
    with FileServer(tiny_dataset.parent) as server, Proxy(server.port, bytes_per_second=40_000) as proxy:
        process = reader(f"{proxy.address}/tiny", cache)
        while not list(cache.folder.rglob("*.tar.*.part")):
            time.sleep(0.01)
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (part,) = cache.folder.rglob("*.tar.*.part")
        shard = part.name.partition(".tar")[0] + ".tar"
        part.write_bytes((tiny_dataset / shard).read_bytes()[:5000])
        proxy.bytes_per_second = None
        index = ShardIndex.open(f"{proxy.address}/tiny", cache=cache)
        assert images(index) == images(ShardIndex.open(tiny_dataset))
        assert any(found and found.startswith("bytes=5000-") for path, found in server.asked if path.endswith(shard))
        assert not list(cache.folder.rglob("*.part"))


def test_threads_fetch_a_shard_once(tiny_dataset, cache):
    local = ShardIndex.open(tiny_dataset)
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        found = {}

        def read(start):
            for row in index.rows[start::6].tolist():
                found[row] = bytes(index.read(row))

        threads = [threading.Thread(target=read, args=(start,)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found[row] for row in index.rows.tolist()] == images(local)
        assert set(server.count().values()) == {1}


def test_a_small_cache_evicts_what_was_opened_longest_ago(tiny_dataset, tmp_path):
    sizes = sorted(path.stat().st_size for path in tiny_dataset.glob("*.tar"))
    cache = Cache(folder=tmp_path / "cache", num_bytes=sizes[-1] + 1000, patience=QUICK)
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        local = ShardIndex.open(tiny_dataset)
        held = index.read(0)
        for row in (0, 95, 50, 0, 95):
            assert bytes(index.read(row)) == bytes(local.read(row))
            kept = list(cache.folder.rglob("*.tar"))
            assert sum(path.stat().st_size for path in kept) <= cache.num_bytes
            assert index.datasets.shards.num_open == len(kept)  # open files of evicted shards would keep their room
        assert sum(server.count().values()) == 4 + (index.shard_numbers()[0] != index.shard_numbers()[50])
        assert bytes(held) == bytes(local.read(0))  # what was handed out stays
    tight = Cache(folder=tmp_path / "tight", num_bytes=sizes[-1] - 1000, patience=QUICK)
    with FileServer(tiny_dataset.parent) as server, pytest.raises(InputError, match="no room for .* its limit is"):
        images(ShardIndex.open(f"{server.address}/tiny", cache=tight))


def test_shards_in_use_are_not_evicted(tiny_dataset, tmp_path, caplog):
    sizes = sorted(path.stat().st_size for path in tiny_dataset.glob("*.tar"))
    cache = Cache(folder=tmp_path / "cache", num_bytes=sizes[-1] + 1000, patience=QUICK)
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        number = int(index.shard_numbers()[0])
        held = index.datasets.shards.hold(number, stop=threading.Event(), on_bytes=lambda _: None)
        index.read(95)
        assert index.datasets.tars[number].is_file()
        assert "above its limit" in caplog.text
        held.let_go()
        index.read(50), index.read(95)
        assert not index.datasets.tars[number].is_file()


def test_a_full_disk_is_one_line(tiny_dataset, cache, monkeypatch):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        usage = shutil.disk_usage(cache.folder)
        monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage._replace(free=usage.total // 21))
        with pytest.raises(InputError, match=r"no room for .* kB more.*5 % of it stay free.*MOCO_CXR_CACHE"):
            index.read(0)


def test_the_cache_is_found_by_argument_then_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCO_CXR_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("MOCO_CXR_CACHE_BYTES", "1.5G")
    assert Cache.at() == Cache(folder=tmp_path / "a", num_bytes=1_500_000_000)
    assert Cache.at(tmp_path / "b", 7) == Cache(folder=tmp_path / "b", num_bytes=7)
    monkeypatch.setenv("MOCO_CXR_CACHE_BYTES", "lots")
    with pytest.raises(InputError, match="MOCO_CXR_CACHE_BYTES 'lots'"):
        Cache.at()
    monkeypatch.delenv("MOCO_CXR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache.at(num_bytes=1).folder == tmp_path / ".cache" / "moco-cxr"


def test_a_locked_shard_waits_and_can_be_given_up(tmp_path):
    path = tmp_path / "x.lock"
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        stop = threading.Event()
        stop.set()
        with pytest.raises(transfer.Stopped), cache_module.locked(path, stop):
            pass
    with cache_module.locked(path, stop):
        assert os.path.exists(path)


def test_small_files_on_their_way_are_no_shards(tiny_dataset, cache):
    """Another process writes its ``dataset.json`` at any moment."""
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        before = cache.capacity()
        for name in ("dataset.json.8cda6a94eeb7.part", "dataset.json.123456789012.part"):
            (index.packed[0].folder / name).write_bytes(b"{")
        assert cache.capacity() < before + 10_000_000_000  # and not 123 GB of a file that is named so
        assert images(index) == images(ShardIndex.open(tiny_dataset))
