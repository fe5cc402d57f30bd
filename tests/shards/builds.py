"""Small builds of patterns, whole or interrupted, and what lies in their folders."""

from pathlib import Path

import pytest

import shards.base.atomic
import shards.packing.build
import shards.packing.shard
from shards.packing.build import BuildConfig, build_dataset
from shards.sandbox.sandbox import Sandbox


def config(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 4, "workers": 1, "name": "patterns"}
    return BuildConfig(input=folder, output=output, **(defaults | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_shards_here(monkeypatch):
    """Has builds write their shards in this process, where a test can fail their writing."""

    class Here(Sandbox):
        def __init__(self, function, limits):
            self._function = function

        def map(self, items):
            return map(self._function, items)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(shards.packing.shard, "Sandbox", Here)


def finished_tars(output: Path) -> dict[Path, int]:
    """Time of writing of the tars of finished shards."""
    markers = (output / ".build").glob("*.parquet")
    return {tar: tar.stat().st_mtime_ns for m in markers if (tar := output / f"{m.stem}.tar").exists()}


def interrupt_after(monkeypatch, num_shards, settings):
    """Runs a build until it has written some shards, then interrupts it."""
    written = []
    write = shards.packing.build.write_shard

    def interrupted(shard, packing, **options):
        if len(written) == num_shards:
            raise KeyboardInterrupt
        written.append(f"{shard.name}.tar")
        return write(shard, packing, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shards.packing.build, "write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_dataset(settings)
    return written
