"""Datasets elsewhere: the same images, whatever the server forgets or lies about."""

import pickle
import shutil
from pathlib import Path

import fsspec
import pytest

from shards.base.errors import InputError
from shards.checks.verify import verify_dataset
from shards.derived import merge_datasets, write_subset
from shards.index import ShardIndex
from shards.remote.address import Address
from shards.remote.cache import Cache
from tests.servers import FileServer
from tests.shards.remote.conftest import images
from tests.shards.sealed import seal


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


def test_what_needs_a_folder_here_says_so(tiny_dataset, tmp_path):
    address = "http://127.0.0.1:1/data/tiny"
    with pytest.raises(InputError, match=f"verify: {address} is elsewhere; copy the dataset folder here first"):
        verify_dataset(Path(address))
    with pytest.raises(InputError, match=f"merge: {address} is elsewhere"):
        merge_datasets([tiny_dataset, Path(address)], tmp_path / "merged")
    index = ShardIndex.open(f"file://{tiny_dataset}", cache=Cache(folder=tmp_path / "cache"))
    with pytest.raises(InputError, match=f"subset: file://{tiny_dataset} is elsewhere"):
        write_subset(index, tmp_path / "subset", selection={})
