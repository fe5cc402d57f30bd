"""Files on which decoders die, hang or take all memory: the build goes on without them, and says why."""

import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

import shards.packing.image
import shards.packing.plan
import shards.packing.plan_text
from shards.images.store import ImageSpec, store_image
from shards.packing.build import build_dataset, plan_dataset
from shards.packing.image import store_files
from shards.sandbox.sandbox import Killed, Limits
from tests.conftest import ROOT, write_patterns
from tests.shards.builds import config, contents, interrupt_after
from tests.shards.hostile_files import FilesOfKilledWorkers, HostileFiles

PLACES = {"abort": "train/blob/blob002.png", "loop": "train/clear/clear003.png", "eat": "train/blob/blob004.png"}
REASONS = {"abort": "decoder-died", "loop": "decoder-hangs", "eat": "too-much-memory"}


@pytest.fixture
def make_hostile(tmp_path, monkeypatch):
    def make(*kinds, files=HostileFiles):
        source = write_patterns(tmp_path / "source", {"train": 5})
        for kind in kinds:
            (source / PLACES.get(kind, "train/blob/blob000.png")).write_bytes(kind.encode())
        monkeypatch.setattr(shards.packing.plan, "open_files", lambda path, **_: files(path))
        return source

    return make


def rejected(output):
    rows = pq.read_table(output / "rejected.parquet").to_pylist()
    return {row["source_path"]: (row["reason"], row["message"]) for row in rows}


def test_the_build_goes_on_without_them_as_if_they_had_been_refused(make_hostile, tmp_path, monkeypatch):
    source = make_hostile(*PLACES)
    monkeypatch.setattr(shards.packing.image, "LIMITS", Limits(seconds=0.3))
    build_dataset(config(source, tmp_path / "out", max_rejected=1.0))
    found = rejected(tmp_path / "out")
    assert {path: reason for path, (reason, _) in found.items()} == {PLACES[kind]: REASONS[kind] for kind in PLACES}
    assert {message for _, message in found.values()} == {
        "decoding crashes (SIGABRT): the file is damaged",
        "not decoded after 0.3 s of computing: the file is damaged",
        "decoding takes more than 4.3 GB of memory: the file is damaged",
    }
    for kind, path in PLACES.items():
        (source / path).write_bytes(b"-" * len(kind))  # of the same size, and refused by its first bytes
    build_dataset(config(source, tmp_path / "refused", max_rejected=1.0))
    tars = {name: data for name, data in contents(tmp_path / "out").items() if name.endswith((".tar", ".idx"))}
    assert tars == {name: data for name, data in contents(tmp_path / "refused").items() if name in tars}


@pytest.mark.parametrize(("workers", "shard_images"), [(2, 4), pytest.param(2, 1000, marks=pytest.mark.slow)])
def test_with_any_number_of_workers_and_interrupted_they_are_the_same(
    make_hostile, tmp_path, monkeypatch, workers, shard_images
):
    source = make_hostile("abort")
    settings = {"max_rejected": 1.0, "shard_images": shard_images}
    build_dataset(config(source, tmp_path / "one", **settings))
    build_dataset(config(source, tmp_path / "many", workers=workers, **settings))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    if shard_images == 4:
        interrupt_after(monkeypatch, 1, config(source, tmp_path / "out", **settings))
        build_dataset(config(source, tmp_path / "out", **settings))
        assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_of_a_shard_without_them_no_image_goes_from_process_to_process(make_hostile, tmp_path, monkeypatch):
    source = make_hostile()

    def each_by_itself(*_, **__):
        raise AssertionError("a process died")

    monkeypatch.setattr(shards.packing.plan_text, "pack_images", lambda *_, **__: [])
    monkeypatch.setattr(shards.packing.image, "pack_images", each_by_itself)
    assert build_dataset(config(source, tmp_path / "out")).num_packed == 10


def test_nothing_is_decoded_in_the_process_that_builds(make_hostile, tmp_path, monkeypatch):
    """Neither in the plan nor with one worker."""
    source = make_hostile()

    def decode(*_):
        raise AssertionError("decoded by the parent")

    monkeypatch.setattr(shards.packing.image, "store_image", decode)
    plan_dataset(config(source, tmp_path / "out"))
    assert build_dataset(config(source, tmp_path / "out")).num_packed == 10


def test_the_plan_survives_them_and_says_so(make_hostile, tmp_path, monkeypatch):
    source = make_hostile("abort")
    plan = plan_dataset(config(source, tmp_path / "out"))
    assert f"of the images tried, 1 would be rejected; first: {PLACES['abort']}: decoding crashes (SIGABRT)" in plan
    (source / PLACES["loop"]).write_bytes(b"loop")
    monkeypatch.setattr(shards.packing.plan_text, "_SAMPLING_SECONDS", 0.2)
    assert "images tried" in plan_dataset(config(source, tmp_path / "out")), "it tries no more, and judges nothing"


def test_under_pseudonyms_nothing_is_said_of_them_but_the_reason(make_hostile, tmp_path):
    source = make_hostile("abort")
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    build_dataset(config(source, tmp_path / "out", max_rejected=1.0, pseudonymise=key))
    [(reason, message)] = rejected(tmp_path / "out").values()
    assert reason == "decoder-died"
    assert message.startswith("message withheld")


def test_a_killed_worker_is_one_line(make_hostile, tmp_path):
    source = make_hostile(files=FilesOfKilledWorkers)
    with pytest.raises(Killed, match="a process was killed, .* repeat the command with fewer --workers"):
        build_dataset(config(source, tmp_path / "out", workers=2))


def test_a_killed_decoder_is_one_line_and_leaves_what_is_finished(make_hostile, tmp_path):
    """The system does that where memory runs out, so it is no fault of the image."""
    source = make_hostile("kill")
    with pytest.raises(Killed, match="a process was killed, .* repeat the command with fewer --workers"):
        build_dataset(config(source, tmp_path / "out", max_rejected=1.0))
    (source / "train/blob/blob000.png").write_bytes(b"done")
    num_finished = len(list((tmp_path / "out").glob("*.tar")))
    assert build_dataset(config(source, tmp_path / "out", max_rejected=1.0)).num_packed == 9
    assert num_finished < len(list((tmp_path / "out").glob("*.tar")))


def test_a_build_that_is_killed_takes_its_processes_with_it(tmp_path):
    """None is left behind that holds its memory."""
    source = write_patterns(tmp_path / "source", {"train": 8})
    code = (
        "import os, signal; from pathlib import Path; from shards.packing.build import *; "
        "from shards.sandbox import sandbox\n"
        f"build_dataset(BuildConfig(source='folder', input=Path({str(source)!r}), "
        f"output=Path({str(tmp_path / 'out')!r}), size=48, workers=1))\n"
        "print(sandbox._idle[0]._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    child = int(done.stdout)
    subprocess.run(["tail", f"--pid={child}", "-s", "0.05", "-f", "/dev/null"], timeout=20, check=True)


def test_files_are_stored_outside_of_a_build_as_in_one(make_hostile, tmp_path, monkeypatch):
    source = make_hostile("abort")
    monkeypatch.setattr(shards.packing.image, "LIMITS", Limits(seconds=0.3))
    names = ["train/blob/blob001.png", PLACES["abort"], "train/blob/absent.png"]
    whole, died, absent = store_files(names, HostileFiles(source), ImageSpec(size=64), processes=2)
    assert whole == replace(
        store_image((source / names[0]).read_bytes(), ImageSpec(size=64)), source_hash=whole.source_hash
    )
    assert (died.reason, absent.reason) == ("decoder-died", "missing")
