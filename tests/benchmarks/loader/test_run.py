import dataclasses
import json
import re
import sys
import time

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks.loader import child as loader_child
from benchmarks.loader import feeds as loader_feeds
from benchmarks.loader import peers as loader_peers
from benchmarks.loader import run as loader
from benchmarks.loader.feeds import Setting, check, consume
from benchmarks.loader.gpu import compare_beside_step
from benchmarks.measuring.resources import Resources
from benchmarks.measuring.result import Comparison, Timing
from benchmarks.settings import LoaderConfig
from pipeline.loader import build_loader
from shards.base.errors import InputError
from shards.index import ShardIndex

FEEDS = [*loader_peers.PEERS, *loader._ENGINES]
RESOURCES = Resources(
    wait_share=0.0, consumer=1.0, peak_megabytes=1.0, pass_megabytes=(1.0, 1.0, 1.0), first_batch_seconds=1.0
)


@pytest.fixture
def setting(tiny_dataset):
    return Setting(data=tiny_dataset, num_images=96, views="moco_cxr", size=32, batch=16, threads=2)


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
def test_every_feed_gives_two_views_of_each_image_pass_after_pass(feed, setting):
    if not feed.is_present:
        pytest.skip(f"{feed.name}: not installed")
    with feed.open(setting) as one_pass:
        check(feed, one_pass(), setting, 96)
        assert consume(one_pass(), torch.device("cpu")) == 96


def test_limits_go_over_all_images(setting, monkeypatch):
    seen = []
    read = ShardIndex.read
    monkeypatch.setattr(ShardIndex, "read", lambda self, row: seen.append(row) or read(self, row))
    for feed in (loader_feeds.DECODING, loader_feeds.READING):
        seen.clear()
        with feed.open(setting) as one_pass:
            consume(one_pass(), torch.device("cpu"))
        assert sorted(seen) == list(range(96)), feed.name


def test_a_feed_that_leaves_out_images_is_not_timed(setting):
    with loader_peers.REFERENCE.open(setting) as one_pass:
        batches = one_pass()
        next(batches)
        with pytest.raises(AssertionError, match="80 of 96 images"):
            check(loader_peers.REFERENCE, batches, setting, 96)


@pytest.mark.parametrize(("speed", "verdict"), [(30.0, "met"), (3.0, "missed")])
def test_what_was_asked_for_is_said_to_be_met_or_missed(setting, speed, verdict):
    """Speeds are those of the table, not ratios of the medians, which are all the same here."""
    names = [feed.name for feed in (loader_peers.REFERENCE, loader_peers.DALI_CHAIN, loader_feeds.DECODING)]
    speeds = dict.fromkeys(names, 1.0) | {loader_feeds.DECODING.name: 40.0}
    ours = (loader_feeds.DALI, loader_feeds.KORNIA, loader_feeds.FIRST_EPOCH, loader_feeds.RESIDENT)
    speeds |= dict.fromkeys([feed.name for feed in (*ours, loader_feeds.MOCO_V2)], speed)
    speeds[loader_peers.DALI_CHAIN.name] = speed / 4 if verdict == "met" else speed
    timings = {
        name: Timing(median=1.0, low_quartile=1.0, high_quartile=1.0, speed=one, turns=3)
        for name, one in speeds.items()
    }
    comparison = Comparison(
        title="views", work="w", rate=1.0, unit="images", timings=timings, resources={"kornia": RESOURCES}
    )
    remarks = list(loader._remarks(comparison, setting))
    assert sum(f"; {verdict})" in remark for remark in remarks) == sum("(asked: " in remark for remark in remarks) == 4
    assert f"resident is {speed:.1f} times the reference after its first epoch (asked: 20; {verdict})" in remarks


def test_a_feed_whose_package_is_missing_takes_no_part(monkeypatch):
    absent = dataclasses.replace(loader_peers.LIGHTLY, modules=("no_such_package.transforms",))
    assert not absent.is_present
    monkeypatch.setattr(loader_peers, "PEERS", (loader_peers.REFERENCE, absent))
    names = [feed.name for feed in loader.choose_feeds(quick=False)]
    assert names[0] == loader_peers.REFERENCE.name
    assert absent.name not in names


@pytest.mark.slow
def test_resources_are_measured_in_a_process_of_its_own(setting):
    used = loader_child.measure_resources(loader_feeds.KORNIA, setting, consumer=1000.0)
    assert 0 <= used.wait_share <= 1
    assert len(used.pass_megabytes) == 3
    assert max(used.pass_megabytes) <= used.peak_megabytes < 2000
    assert 0 < used.first_batch_seconds < 30


def test_a_failure_in_that_process_is_told(setting, tmp_path):
    broken = dataclasses.replace(setting, data=tmp_path)
    with pytest.raises(RuntimeError, match="kornia in a process of its own failed: (?s:.*)dataset"):
        loader_child.measure_resources(loader_feeds.KORNIA, broken, consumer=1000.0)


def test_the_wait_share_is_that_of_a_slow_producer():
    def batches(seconds):
        for _ in range(6):
            time.sleep(seconds)
            yield ()

    assert 0.4 < loader_child.wait_share(batches(0.02), seconds=0.02) < 0.6
    assert loader_child.wait_share(batches(0.0), seconds=0.02) < 0.1


def test_the_loader_tells_the_same_wait_as_is_measured_from_outside(setting):
    with build_loader(setting.index(), setting.spec, batch_size=16, engine="kornia", num_threads=1) as made:
        waited, start = 0.0, time.perf_counter()
        for _ in made:
            waited += time.perf_counter() - start
            time.sleep(0.005)
            start = time.perf_counter()
    assert made.wait_seconds == pytest.approx(waited, abs=0.05)


@pytest.mark.slow
def test_the_command_measures_everything_there_is(tiny_dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(loader, "CHEXPERT_ROWS", 2000)
    options = ["loader", "--quick", "--data", str(tiny_dataset), "--size", "48", "--batch", "16", "--threads", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
    command.main()
    result = json.loads((tmp_path / "quick" / "loader-cpu.json").read_text())
    feeds, warps, *scaling, starts = result["comparisons"]
    names = list(feeds["timings"])
    assert names[0] == "torchvision PIL workers"
    assert {"dali", "kornia", "resident", "limit: decoding alone"} < set(names)
    assert all(timing["cpu_seconds"] > 0 for timing in feeds["timings"].values())
    assert set(feeds["resources"]) == {"torchvision PIL workers", "kornia"}
    assert any(re.search(r"of decoding alone \(asked: 60 %; (met|missed)\)", remark) for remark in feeds["remarks"])
    assert re.search(r"\(asked: under 1 s; (met|missed)\)", starts["remarks"][0])
    assert warps["work"].startswith("96 decoded images of 72x64 px")
    assert [list(one["timings"]) for one in scaling] == [["1 thread", "2 threads"]] * 2
    assert starts["remarks"][0].startswith("an epoch of 2,000 rows starts within")
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if not line.startswith("written")) <= 80
    assert "the warp alone" in printed


def test_some_engines_alone_are_measured_beside_the_limit(tiny_dataset, monkeypatch):
    monkeypatch.setattr(loader, "measure_resources", lambda feed, *_, **__: RESOURCES)
    config = LoaderConfig(data=tiny_dataset, size=(48,), batch=16, threads=1, turns=1, only=("dali", "resident"))
    feeds, *scaling = loader.run(config.resolved())
    assert list(feeds.timings) == ["dali", "resident", "limit: decoding alone"]
    assert [remark.partition(" reaches")[0] for remark in feeds.remarks[:2]] == ["dali", "resident"]
    assert [one.title.partition(":")[0] for one in scaling] == ["dali", "limit"]  # no epoch's start, which is kornia's


def test_an_unknown_preset_is_named(tiny_dataset):
    with pytest.raises(InputError, match="--views moco: unknown; known presets: moco_cxr"):
        LoaderConfig(data=tiny_dataset, views="moco", batch=16).resolved()


def test_a_batch_larger_than_the_dataset(tiny_dataset):
    with pytest.raises(InputError, match="--batch 128: more than the 96 images"):
        list(loader.run(LoaderConfig(data=tiny_dataset).resolved()))


@pytest.mark.slow
def test_engines_beside_a_step(setting):
    one_step = dataclasses.replace(setting, num_images=8, batch=8)  # a CPU is slow in bfloat16
    comparison = compare_beside_step([loader_feeds.KORNIA, loader_feeds.RESIDENT], one_step, turns=1)
    assert next(iter(comparison.timings)) == "ResNet18 step alone"
    assert len(comparison.timings) == 5
    assert "kornia: " in comparison.remarks[0]
    alone, idle, both = (timing.median for timing in list(comparison.timings.values())[:3])
    assert both > max(alone, idle) / 2


@pytest.mark.gpu
def test_engines_on_the_gpu(setting):
    on_gpu = dataclasses.replace(setting, device="cuda")
    feeds = [loader_feeds.DALI, loader_feeds.KORNIA, loader_feeds.RESIDENT]
    comparison = compare_beside_step(feeds, on_gpu, turns=1)
    assert len(comparison.timings) == 7
    assert len(comparison.remarks) == 3
