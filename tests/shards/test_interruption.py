"""A build that is killed, runs out of room, or finds its source changed: what is left, and how it goes on."""

import contextlib
import errno
import json
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
import shards.packing.shard
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import ROOT, draw_pattern, write_patterns

SCRIPT = (
    "import sys; from pathlib import Path; from shards.packing.build import *; "
    "build_dataset(BuildConfig(source='folder', input=Path(sys.argv[1]), output=Path(sys.argv[2]), "
    "size=48, shard_images=4, workers=int(sys.argv[3]), name='patterns'))"
)


def config(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 4, "workers": 1, "name": "patterns"}
    return BuildConfig(input=folder, output=output, **(defaults | options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def finished_tars(output: Path) -> dict[Path, int]:
    """Time of writing of the tars of finished shards."""
    markers = (output / ".build").glob("*.parquet")
    return {tar: tar.stat().st_mtime_ns for m in markers if (tar := output / f"{m.stem}.tar").exists()}


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


def test_a_kill_at_the_very_end_leaves_nothing_behind(tmp_path):
    source = write_patterns(tmp_path / "source", {"train": 4})
    build_dataset(config(source, tmp_path / "out"))
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / ".build").mkdir()
    (tmp_path / "out" / ".build" / "train-000000.rejected").write_bytes(b"")
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == whole


def test_a_finished_shard_that_lost_its_tar_is_packed_again(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 8})
    build_dataset(config(source, tmp_path / "whole"))
    interrupt_after(monkeypatch, 3, config(source, tmp_path / "out"))
    (tmp_path / "out" / "train-000001.tar").write_bytes(b"short")
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def interrupt_after(monkeypatch, num_shards, settings):
    """Runs a build until it has written some tars, then interrupts it."""
    written = []
    write = shards.packing.shard.write_tar

    def interrupted(path, samples, *, aside):
        if len(written) == num_shards:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(path, samples, aside=aside)

    with monkeypatch.context() as patch:
        patch.setattr(shards.packing.shard, "write_tar", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_dataset(settings)
    return written


def test_finished_shards_are_not_packed_again(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 10})
    first = interrupt_after(monkeypatch, 3, config(source, tmp_path / "out"))
    written = []
    write = shards.packing.shard.write_tar
    monkeypatch.setattr(
        shards.packing.shard, "write_tar", lambda path, *a, **k: written.append(path.name) or write(path, *a, **k)
    )
    build_dataset(config(source, tmp_path / "out"))
    assert len(first) == 3
    assert len(written) == 2
    assert not set(first) & set(written)


@pytest.mark.parametrize("change", ["grown", "gone", "new"])
def test_a_source_changed_between_kill_and_continue_is_refused(tmp_path, monkeypatch, change):
    source = write_patterns(tmp_path / "source", {"train": 8})
    interrupt_after(monkeypatch, 2, config(source, tmp_path / "out"))
    path = source / "train" / "blob" / "blob003.png"
    if change == "grown":
        path.write_bytes(path.read_bytes() + b"0")
    elif change == "gone":
        path.unlink()
    else:
        path.with_name("blob999.png").write_bytes(path.read_bytes())
    before = contents_below(tmp_path / "out")
    with pytest.raises(InputError, match=r"the source \(its list, or a file's size\) has changed since"):
        build_dataset(config(source, tmp_path / "out"))
    assert contents_below(tmp_path / "out") == before


def contents_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_that_changes_while_it_is_packed_stops_the_build(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 4})
    sizes = shards.packing.plan._file_sizes
    monkeypatch.setattr(shards.packing.plan, "_file_sizes", lambda *a: [size - 1 for size in sizes(*a)])
    with pytest.raises(InputError, match="has changed since this build began"):
        build_dataset(config(source, tmp_path / "out"))


def test_other_versions_of_the_tools_do_not_continue(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 8})
    interrupt_after(monkeypatch, 2, config(source, tmp_path / "out"))
    plan = tmp_path / "out" / ".build" / "plan.json"
    found = json.loads(plan.read_text())
    found["tools"]["pillow"] = "1.0"
    plan.write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"was begun with .*pillow 1.0"):
        build_dataset(config(source, tmp_path / "out"))


@pytest.mark.parametrize("num_writes", [1, 4, 7])
def test_a_full_disk_stops_with_one_line_and_continues(tmp_path, monkeypatch, num_writes):
    source = write_patterns(tmp_path / "source", {"train": 8})
    build_dataset(config(source, tmp_path / "whole"))
    sync = os.fsync
    left = {"syncs": num_writes}

    def full(descriptor):
        left["syncs"] -= 1
        if left["syncs"] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(shards.base.atomic.os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device; make room and repeat the command") as caught:
            build_dataset(config(source, tmp_path / "out"))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.part")), "unfinished files would take up the room that is wanted"
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 120 kB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tmp_path, small_disk):
    source = write_patterns(tmp_path / "source", {"train": 32})
    build_dataset(config(source, tmp_path / "whole"))
    command = [sys.executable, "-m", "shards", "build", "--source", "folder", "--input", str(source)]
    command += ["--output", str(small_disk / "out"), "--size", "48", "--shard-images", "4", "--name", "patterns"]
    command += ["--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "Traceback" in line] == []
    # One line; loky's tracker, a process of its own, may warn behind it of a folder that is gone already.
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said.startswith(f"error: --output {small_disk / 'out'}: No space left on device")
    finished = finished_tars(small_disk / "out")
    assert finished
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    build_dataset(config(source, small_disk / "out"))
    assert {tar: tar.stat().st_mtime_ns for tar in finished} == finished
    assert contents(small_disk / "out") == contents(tmp_path / "whole")


def test_a_disk_that_is_read_only(tmp_path, small_disk):
    source = write_patterns(tmp_path / "source", {"train": 1})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\)"):
        build_dataset(config(source, small_disk / "out"))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_an_output_that_may_not_be_written(tmp_path, monkeypatch, number):
    source = write_patterns(tmp_path / "source", {"train": 1})

    def denied(self, *args, **options):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(InputError, match=r"cannot be written \(.*\); choose a folder that you may write to"):
        build_dataset(config(source, tmp_path / "out"))


def test_two_builds_of_one_folder_do_not_mix(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 4})
    write = shards.packing.shard.write_tar

    def meanwhile(path, samples, *, aside):
        with pytest.raises(InputError, match="another build is writing there"):
            build_dataset(config(source, tmp_path / "out"))
        return write(path, samples, aside=aside)

    monkeypatch.setattr(shards.packing.shard, "write_tar", meanwhile)
    build_dataset(config(source, tmp_path / "out"))


@pytest.mark.parametrize("name", ["dataset.json", "index.parquet", "rejected.parquet", "train-000001.tar"])
def test_killed_just_before_a_file_takes_its_place_nothing_is_left_over(tmp_path, name):
    source = write_patterns(tmp_path / "source", {"train": 20})
    build_dataset(config(source, tmp_path / "whole"))
    code = (
        "import os, pathlib\n"
        "replace = pathlib.Path.replace\n"
        "def killed(self, target):\n"
        f"    os._exit(9) if pathlib.Path(target).name == {name!r} else replace(self, target)\n"
        f"pathlib.Path.replace = killed\n{SCRIPT}"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "out"), "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
