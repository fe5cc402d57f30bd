"""Datasets elsewhere, behind servers that cut, refuse, forget and lie."""

import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest

from shards.base.errors import InputError
from shards.checks.verify import verify_dataset
from shards.derived import merge_datasets, write_subset
from shards.index import ShardIndex
from shards.remote import cache as cache_module
from shards.remote import transfer
from shards.remote.address import Address
from shards.remote.cache import Cache
from shards.remote.transfer import Patience
from tests.conftest import ROOT
from tests.servers import FileServer, Proxy
from tests.shards.sealed import seal

QUICK = Patience(first_seconds=0.005, longest_seconds=0.02)


@pytest.fixture
def cache(tmp_path):
    return Cache(folder=tmp_path / "cache", patience=QUICK)


@pytest.fixture
def small_ranges(monkeypatch):
    """Ranges so short that a shard of the tiny dataset takes several."""
    monkeypatch.setattr(transfer, "FIRST_RANGE_BYTES", 1 << 14)
    monkeypatch.setattr(transfer, "LONGEST_RANGE_BYTES", 1 << 15)
    monkeypatch.setattr(transfer, "SHORTEST_RANGE_BYTES", 1 << 12)


def images(index):
    return [bytes(index.read(row)) for row in index.rows]


def test_a_dataset_over_http_is_the_dataset(tiny_dataset, cache):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny/", cache=cache)
        assert not server.count()  # lazy: no shard before a row of it is read
        assert index.is_remote
        index.read(0)
        assert sum(server.count().values()) == 1
        local = ShardIndex.open(tiny_dataset)
        assert images(index) == images(local)
        assert index.table.equals(local.table)
        assert images(pickle.loads(pickle.dumps(index))) == images(local)
        assert set(server.count().values()) == {1}
        assert not local.is_remote


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


def test_any_address_that_fsspec_knows(tiny_dataset, cache):
    memory = fsspec.filesystem("memory")
    memory.put(str(tiny_dataset), "/films/tiny", recursive=True)
    local = images(ShardIndex.open(tiny_dataset))
    assert images(ShardIndex.open("memory://films/tiny", cache=cache)) == local
    assert images(ShardIndex.open(f"file://{tiny_dataset}", cache=cache)) == local
    with pytest.raises(InputError, match=r"nosuch://films/tiny.*check the address"):
        ShardIndex.open("nosuch://films/tiny", cache=cache)


def test_views_of_datasets_elsewhere(tiny_dataset, cache, tmp_path):
    shutil.copytree(tiny_dataset, tmp_path / "served" / "tiny")
    shutil.copytree(tiny_dataset, tmp_path / "served" / "more" / "other")
    seal(tmp_path / "served" / "more" / "other", name="other")
    subset = write_subset(
        ShardIndex.open(tmp_path / "served" / "tiny").where(split="test"), tmp_path / "served" / "test", selection={}
    )
    with FileServer(tmp_path / "served") as server:
        assert images(ShardIndex.open(f"{server.address}/test", cache=cache)) == images(subset)
        assert list(server.count()) == ["/tiny/test-000000.tar"]
    merged = Address(base="http://host/data/both")
    assert str(merged.joined("../tiny")) == "http://host/data/tiny"
    with pytest.raises(InputError, match="not below the same server"):
        merged.joined("../../../tiny")


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
        index.datasets.drop(int(index.shard_numbers()[index.column("split") == "train"][0]))
        assert images(index) == images(ShardIndex.open(tiny_dataset))
        assert name.read_bytes() == data


def test_wrong_bytes_are_fetched_once_more_and_then_named(tiny_dataset, cache):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache).where(split="test")
        server.damaged["test-000000.tar"] = 1
        assert images(index) == images(ShardIndex.open(tiny_dataset).where(split="test"))
        assert server.count()["/tiny/test-000000.tar"] == 2
        train = ShardIndex.open(f"{server.address}/tiny", cache=cache).where(split="train")
        server.damaged["train-000000.tar"] = 9
        with pytest.raises(InputError, match=r"tiny/train-000000.tar: has other bytes \(SHA-256\)"):
            images(train)
        assert server.count()["/tiny/train-000000.tar"] == 2
        assert not list(cache.folder.rglob("train-000000.tar*.part"))


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
            assert len(index.datasets._maps) == len(kept)  # maps of evicted shards would keep their room
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
        with index.datasets.hold(number, stop=threading.Event(), on_bytes=lambda _: None):
            index.read(95)
            assert index.datasets.tars[number].is_file()
            assert "above its limit" in caplog.text


def test_a_full_disk_is_one_line(tiny_dataset, cache, monkeypatch):
    with FileServer(tiny_dataset.parent) as server:
        index = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        usage = shutil.disk_usage(cache.folder)
        monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: usage._replace(free=usage.total // 21))
        with pytest.raises(InputError, match=r"no room for .* kB more.*5 % of it stay free.*MOCO_CXR_CACHE"):
            index.read(0)


def test_without_the_server_a_full_cache_serves(tiny_dataset, cache, caplog):
    with FileServer(tiny_dataset.parent) as server:
        address = f"{server.address}/tiny"
        found = images(ShardIndex.open(address, cache=cache))
        server.asked.clear()
        assert images(ShardIndex.open(address, cache=cache)) == found
        assert [path for path, _ in server.asked] == ["/tiny/dataset.json"]
    assert images(ShardIndex.open(address, cache=cache)) == found
    assert "cannot be reached; using the copy of" in caplog.text


def test_a_dataset_packed_anew_is_noticed_and_not_mixed(tiny_dataset, cache, tmp_path):
    served = tmp_path / "served" / "tiny"
    shutil.copytree(tiny_dataset, served)
    with FileServer(served.parent) as server:
        old = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        old.read(old.where(split="test").rows[0])
        data = bytearray((served / "train-000000.tar").read_bytes())
        data[-1] ^= 1
        (served / "train-000000.tar").write_bytes(data)
        seal(served)
        new = ShardIndex.open(f"{server.address}/tiny", cache=cache)
        new.read(new.where(split="train").rows[0])
        assert new.packed[0].folder != old.packed[0].folder
        assert (new.packed[0].folder / "train-000000.tar").read_bytes() == data
        with pytest.raises(InputError, match=r"train-000000.tar: has other bytes.*packed anew"):
            old.read(old.where(split="train").rows[0])


def test_a_damaged_manifest_and_a_name_that_leads_out_of_the_cache(tiny_dataset, cache, tmp_path):
    served = tmp_path / "served" / "tiny"
    shutil.copytree(tiny_dataset, served)
    text = (served / "dataset.json").read_text()
    with FileServer(served.parent) as server:
        (served / "dataset.json").write_text(text.replace('"tiny"', '"tony"'))
        with pytest.raises(InputError, match=r"tiny: its dataset.json is damaged"):
            ShardIndex.open(f"{server.address}/tiny", cache=cache)
        (served / "dataset.json").write_text(text)
        remote = ShardIndex.open(f"{server.address}/tiny", cache=cache).packed[0].remote
    remote._files = {"../../outside": {"bytes": 1, "sha256": ""}}
    with pytest.raises(InputError, match="lists no file"):
        remote.open_file("../../outside")


@pytest.mark.parametrize("status", [404, 403, 503, 200])
def test_no_secret_is_told(tiny_dataset, cache, status, caplog):
    with FileServer(tiny_dataset.parent) as server:
        server.status["dataset.json"] = status
        address = f"http://anna:open-sesame@127.0.0.1:{server.port}/tiny?token=hunter2"
        told = ""
        try:
            index = ShardIndex.open(address, cache=cache)
            told = repr(index.folders) + repr(index.packed) + str(index.place(0))
            server.status["test-000000.tar"] = 403
            images(index)
        except InputError as error:
            told += str(error)
        told += caplog.text + " ".join(str(path) for path in cache.folder.rglob("*"))
        assert "127.0.0.1" in told
        assert not any(secret in told for secret in ("anna", "sesame", "hunter2"))
        assert server.asked[0][0] == "/tiny/dataset.json"


def test_addresses():
    from pathlib import Path

    assert Address.parse("data/chexpert") is None
    assert Address.parse(Path("/data/chexpert")) is None
    assert Address.parse(Path("http://host:80/data/chexpert")) == Address(base="http://host:80/data/chexpert")
    assert Address.parse(Path("file:///data/x")) == Address.parse("file:///data/x/")
    assert Address.parse("s3://bucket/x").scheme == "s3"
    found = Address.parse("https://a:b@host/x?sig=1")
    assert found.file("f.tar") == "https://a:b@host/x/f.tar?sig=1"
    assert str(found) == repr(found) == "https://host/x"
    assert found.slug == Address.parse("https://host/x").slug != Address.parse("https://host/y").slug


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


def test_pauses_double_up_to_a_limit():
    patience = Patience()
    pauses = [[patience.pause(n) for _ in range(200)] for n in range(1, 8)]
    for n, some in enumerate(pauses):
        middle = min(16.0, 0.5 * 2**n)
        assert 0.5 * middle <= min(some) < max(some) <= 1.5 * middle


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


def test_what_needs_a_folder_here_says_so(tiny_dataset, tmp_path):
    address = "http://127.0.0.1:1/data/tiny"
    with pytest.raises(InputError, match=f"verify: {address} is elsewhere; copy the dataset folder here first"):
        verify_dataset(Path(address))
    with pytest.raises(InputError, match=f"merge: {address} is elsewhere"):
        merge_datasets([tiny_dataset, Path(address)], tmp_path / "merged")
    index = ShardIndex.open(f"file://{tiny_dataset}", cache=Cache(folder=tmp_path / "cache"))
    with pytest.raises(InputError, match=f"subset: file://{tiny_dataset} is elsewhere"):
        write_subset(index, tmp_path / "subset", selection={})
