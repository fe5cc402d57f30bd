"""Addresses, and what is not told of them."""

from pathlib import Path

import pytest

from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.remote.address import Address
from tests.servers import FileServer
from tests.shards.remote.conftest import images


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
    assert Address.parse("data/chexpert") is None
    assert Address.parse(Path("/data/chexpert")) is None
    assert Address.parse(Path("http://host:80/data/chexpert")) == Address(base="http://host:80/data/chexpert")
    assert Address.parse(Path("file:///data/x")) == Address.parse("file:///data/x/")
    assert Address.parse("s3://bucket/x").scheme == "s3"
    found = Address.parse("https://a:b@host/x?sig=1")
    assert found.file("f.tar") == "https://a:b@host/x/f.tar?sig=1"
    assert str(found) == repr(found) == "https://host/x"
    assert found.slug == Address.parse("https://host/x").slug != Address.parse("https://host/y").slug
