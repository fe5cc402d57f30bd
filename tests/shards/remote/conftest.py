"""Datasets elsewhere, and a cache for them whose tries follow each other at once."""

import pytest

from shards.remote import transfer
from shards.remote.cache import Cache
from shards.remote.transfer import Patience

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
