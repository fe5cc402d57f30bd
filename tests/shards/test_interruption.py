"""A build that is killed, or whose source changes beneath it: what is left, and how it goes on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import shards.base.atomic
import shards.packing.build
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.packing.build import build_dataset
from tests.conftest import ROOT, draw_pattern, write_patterns
from tests.shards.builds import config, contents, finished_tars, interrupt_after, write_shards_here

SCRIPT = (
    "import sys; from pathlib import Path; from shards.packing.build import *; "
    "build_dataset(BuildConfig(source='folder', input=Path(sys.argv[1]), output=Path(sys.argv[2]), "
    "size=48, shard_images=4, workers=int(sys.argv[3]), name='patterns'))"
)


def start(source: Path, output: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, str(source), str(output), str(workers)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_it_continues_behind_the_finished_shards(tmp_path, workers):
    source = write_patterns(tmp_path / "source", {"train": 60})
    build_dataset(config(source, tmp_path / "whole"))
    out = tmp_path / "out"
    with start(source, out, workers) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("train-*.tar"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert not (out / "dataset.json").exists(), "the build had ended before it was killed"
    with pytest.raises(InputError, match="did not finish"):
        ShardIndex.open(out)
    finished = finished_tars(out)
    assert finished
    build_dataset(config(source, out))
    assert {tar: tar.stat().st_mtime_ns for tar in finished} == finished
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_fifty_kills_at_random_times(tmp_path):
    source = tmp_path / "source"
    for number in range(400):
        path = source / "train" / ("blob", "clear")[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_pattern(number, has_blob=number % 2 == 0, width=640, height=560)).save(path)
    build_dataset(config(source, tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    begin = time.monotonic()
    with start(source, tmp_path / "timed", 2) as process:
        assert process.wait() == 0
    whole_seconds = time.monotonic() - begin
    chance = random.Random(0)
    num_kills = num_builds = num_continued = 0
    while num_kills < 50 or (tmp_path / f"out{num_builds}").exists():
        out = tmp_path / f"out{num_builds}"
        finished = finished_tars(out)
        num_continued += bool(finished)
        with start(source, out, 2) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.4, 1.0) * whole_seconds if num_kills < 50 else None)
            if process.returncode is None:
                # the build alone, whose workers notice it a little later, or all of its processes
                (os.kill if chance.random() < 0.5 else os.killpg)(process.pid, signal.SIGKILL)
                num_kills += 1
            else:
                assert process.returncode == 0
                whole_seconds *= 0.9  # most kills are to come in time
        assert {tar: tar.stat().st_mtime_ns for tar in finished} == finished, "a finished shard was packed again"
        if process.returncode == 0:
            assert contents(out) == whole
            num_builds += 1
    assert num_continued > 10, "kills must fall into the packing"


def test_stopped_before_any_write_to_disk_it_ends_with_the_same_bytes(tmp_path, monkeypatch):
    """Sweeps over every sync of a file or folder of a build: what lies on disk there is what a loss of power leaves."""
    source = write_patterns(tmp_path / "source", {"train": 4})
    build_dataset(config(source, tmp_path / "whole"))
    whole = contents(tmp_path / "whole")
    sync = os.fsync
    left = {"syncs": 0}

    def stop(descriptor):
        if left["syncs"] == 0:
            raise KeyboardInterrupt
        left["syncs"] -= 1
        sync(descriptor)

    num_stops = 0
    while True:
        out = tmp_path / f"out{num_stops}"
        with monkeypatch.context() as patch:
            patch.setattr(shards.base.atomic.os, "fsync", stop)
            write_shards_here(patch)
            left["syncs"] = num_stops
            with contextlib.suppress(KeyboardInterrupt):
                build_dataset(config(source, out))
                break
        build_dataset(config(source, out))
        assert contents(out) == whole
        num_stops += 1
    assert num_stops == 2 * (1 + 2 * 4 + 3), (
        "plan; tar, index, rejections and rows of two shards; three files at the end"
    )


def test_a_finished_shard_that_lost_its_tar_is_packed_again(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 8})
    build_dataset(config(source, tmp_path / "whole"))
    interrupt_after(monkeypatch, 3, config(source, tmp_path / "out"))
    (tmp_path / "out" / "train-000001.tar").write_bytes(b"short")
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_finished_shards_are_not_packed_again(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 10})
    first = interrupt_after(monkeypatch, 3, config(source, tmp_path / "out"))
    written = []
    write = shards.packing.build.write_shard
    monkeypatch.setattr(
        shards.packing.build, "write_shard", lambda s, *a, **k: written.append(f"{s.name}.tar") or write(s, *a, **k)
    )
    build_dataset(config(source, tmp_path / "out"))
    assert len(first) == 3
    assert len(written) == 2
    assert not set(first) & set(written)


def test_a_file_that_changes_while_it_is_packed_stops_the_build(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 4})
    sizes = shards.packing.plan._file_sizes
    monkeypatch.setattr(shards.packing.plan, "_file_sizes", lambda *a: [size - 1 for size in sizes(*a)])
    with pytest.raises(InputError, match="has changed since this build began"):
        build_dataset(config(source, tmp_path / "out"))


@pytest.mark.parametrize("name", ["dataset.json", "index.parquet", "rejected.parquet", "train-000001.tar"])
def test_killed_just_before_a_file_takes_its_place_nothing_is_left_over(tmp_path, name):
    source = write_patterns(tmp_path / "source", {"train": 20})
    build_dataset(config(source, tmp_path / "whole"))
    every_process = tmp_path / "first" / "sitecustomize.py"
    every_process.parent.mkdir()
    every_process.write_text(
        "import os, pathlib\n"
        "replace = pathlib.Path.replace\n"
        "def killed(self, target):\n"
        f"    os._exit(9) if pathlib.Path(target).name == {name!r} else replace(self, target)\n"
        "pathlib.Path.replace = killed\n"
    )
    command = [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "out"), "1"]
    path = os.pathsep.join([str(every_process.parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, env=env)
    assert done.returncode == 9, done.stderr
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
