"""Folders that a build cannot write to, or that another build has begun or is writing."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import shards.base.atomic
import shards.packing.build
from shards.base.errors import InputError
from shards.packing.build import build_dataset, plan_dataset
from tests.conftest import ROOT, write_patterns
from tests.shards.builds import config, contents, finished_tars, interrupt_after, write_shards_here


def test_a_kill_at_the_very_end_leaves_nothing_behind(tmp_path):
    source = write_patterns(tmp_path / "source", {"train": 4})
    build_dataset(config(source, tmp_path / "out"))
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / ".build").mkdir()
    (tmp_path / "out" / ".build" / "train-000000.rejected").write_bytes(b"")
    build_dataset(config(source, tmp_path / "out"))
    assert contents(tmp_path / "out") == whole


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


def test_other_options_are_named_where_a_build_was_begun_and_where_it_is_whole(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 8})
    first = config(source, tmp_path / "out", size=48, split="70/10/20")
    again = replace(first, size=40, split="0.8/0/0.2", split_seed=3, square=True)
    interrupt_after(monkeypatch, 2, first)
    differ = "--size 48, not 40; --square off, not on; --split 70/10/20, not 80/0/20; --split-seed 0, not 3"
    said = f"--output {first.output}: holds a build that was begun with {differ}; go on with these, or choose another"
    for act in (build_dataset, plan_dataset):
        with pytest.raises(InputError, match=said):
            act(again)
    begun = first.output / ".build" / "plan.json"
    now = begun.read_text()
    begun.write_text(json.dumps({name: value for name, value in json.loads(now).items() if name != "asked"}))
    with pytest.raises(InputError, match="was begun with other options"):
        build_dataset(again)  # where an earlier version began it
    begun.write_text(now)
    build_dataset(replace(first, split="0.7/0.1/0.2"))
    with pytest.raises(InputError, match=f"--output {first.output}: was packed with {differ}; choose another folder"):
        build_dataset(again)


def contents_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
        write_shards_here(patch)
        with pytest.raises(
            InputError, match=r"\(No space left on device\); make room and repeat the command; it cont"
        ) as caught:
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
    assert said.startswith(f"error: --output {small_disk / 'out'}: ")
    assert said.endswith(
        "(No space left on device); make room and repeat the command; it continues behind the finished shards"
    )
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
    with pytest.raises(
        InputError, match=r"cannot be written \(.*\); (name a folder that you may write to|give yourself)"
    ):
        build_dataset(config(source, tmp_path / "out"))


def test_two_builds_of_one_folder_do_not_mix(tmp_path, monkeypatch):
    source = write_patterns(tmp_path / "source", {"train": 4})
    write = shards.packing.build.write_shard

    def meanwhile(shard, packing, **options):
        with pytest.raises(InputError, match="another build is writing there"):
            build_dataset(config(source, tmp_path / "out"))
        return write(shard, packing, **options)

    monkeypatch.setattr(shards.packing.build, "write_shard", meanwhile)
    build_dataset(config(source, tmp_path / "out"))
