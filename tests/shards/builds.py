"""Small builds of patterns, whole or interrupted, and what lies in their folders."""

from pathlib import Path

import pytest

import shards.base.atomic
import shards.packing.shard
from shards.packing.build import BuildConfig, build_dataset


def config(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 4, "workers": 1, "name": "patterns"}
    return BuildConfig(input=folder, output=output, **(defaults | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def finished_tars(output: Path) -> dict[Path, int]:
    """Time of writing of the tars of finished shards."""
    markers = (output / ".build").glob("*.parquet")
    return {tar: tar.stat().st_mtime_ns for m in markers if (tar := output / f"{m.stem}.tar").exists()}


def interrupt_after(monkeypatch, num_shards, settings):
    """Runs a build until it has written some tars, then interrupts it."""
    written = []
    write = shards.packing.shard.write_tar

    def interrupted(path, samples, *, scratch):
        if len(written) == num_shards:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(path, samples, scratch=scratch)

    with monkeypatch.context() as patch:
        patch.setattr(shards.packing.shard, "write_tar", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_dataset(settings)
    return written
