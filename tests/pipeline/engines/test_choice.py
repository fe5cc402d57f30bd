from pathlib import Path

import pytest
import torch

from pipeline.engines.choice import Budget, choose_engine, free_host_bytes, pixel_budget
from pipeline.engines.resident import decoded_bytes
from shards.base.errors import InputError
from shards.index import ShardIndex

PIXELS = 96 * (64 * 72 + 1)  # the tiny dataset's, and a flag for each image


@pytest.fixture
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset)


def choose(index, engine="auto", *, host=0, on_gpu=None, repeats=True):
    device = torch.device("cpu" if on_gpu is None else "cuda")
    budget = Budget(host=host, device=on_gpu or 0)
    return choose_engine(engine, index, device=device, repeats=repeats, budget=budget)


def test_the_figures(index):
    assert decoded_bytes(index) == PIXELS


def test_auto_keeps_pixels_where_they_fit(index):
    assert choose(index, host=PIXELS).name == "resident"
    assert not choose(index, host=PIXELS).keeps_on_device
    assert choose(index, host=PIXELS, on_gpu=PIXELS).keeps_on_device
    assert not choose(index, host=PIXELS, on_gpu=PIXELS - 1).keeps_on_device
    assert choose(index, host=PIXELS).reason == (
        "engine resident: the 96 images are 0.4 MB decoded, and fit the 0.4 MB they may take of memory"
    )


def test_auto_decodes_each_time_where_they_do_not_fit_or_come_once(index):
    too_many = choose(index, host=PIXELS - 1)
    assert too_many.name == "kornia"
    assert too_many.reason == (
        "engine kornia, the faster one on a CPU: "
        "the 96 images are 0.4 MB decoded, too many for the 0.4 MB they may take"
    )
    assert choose(index, host=PIXELS, repeats=False).name == "kornia"
    assert choose(index, host=0, on_gpu=PIXELS - 1).name == "dali"
    assert choose(index, host=PIXELS, on_gpu=PIXELS, repeats=False).reason.endswith("each row comes once")


@pytest.mark.parametrize("engine", ["dali", "kornia"])
def test_an_engine_asked_for_is_taken(index, engine):
    assert choose(index, engine, host=PIXELS).reason == f"engine {engine}, as asked for"


def test_resident_is_refused_with_the_figures(index):
    assert choose(index, "resident", host=PIXELS, repeats=False).name == "resident"
    with pytest.raises(InputError, match="the 96 images are 0.4 MB decoded but may take 0.1 MB"):
        choose(index, "resident", host=100_000)


def test_the_budget():
    cpu = torch.device("cpu")
    assert pixel_budget(cpu, asked=7, world_size=1) == Budget(host=7, device=0)
    free = pixel_budget(cpu, asked=None, world_size=1)
    assert free.host > 0
    assert free.device == 0


MEMINFO = "MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable:    4000000 kB\n"


def write_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_what_the_machine_has(tmp_path):
    root = write_files(tmp_path, {"proc/self/cgroup": "0::/user\n", "sys/fs/cgroup/user/memory.max": "max\n"})
    assert free_host_bytes(root) == 4_000_000 * 1024


@pytest.mark.parametrize("group", ["/job/step", "/", "/elsewhere"])
def test_the_tightest_group_counts_and_page_cache_does_not(tmp_path, group):
    limits = {
        "sys/fs/cgroup/memory.max": "3000000000\n",
        "sys/fs/cgroup/memory.current": "2000000000\n",
        "sys/fs/cgroup/memory.stat": "anon 500000000\ninactive_file 1500000000\n",
        "sys/fs/cgroup/job/memory.max": "1000000000\n",
        "sys/fs/cgroup/job/memory.current": "300000000\n",
        "sys/fs/cgroup/job/memory.stat": "inactive_file 100000000\n",
    }
    root = write_files(tmp_path, {"proc/self/cgroup": f"0::{group}\n", **limits})
    assert free_host_bytes(root) == (800_000_000 if group == "/job/step" else 2_500_000_000)


def test_version_1_groups(tmp_path):
    folder = "sys/fs/cgroup/memory/docker"
    limits = {
        f"{folder}/memory.limit_in_bytes": "1000000\n",
        f"{folder}/memory.usage_in_bytes": "1500000\n",
        f"{folder}/memory.stat": "total_inactive_file 100000\n",
    }
    groups = "5:cpu,cpuacct:/docker\n4:memory:/docker\n"
    assert free_host_bytes(write_files(tmp_path, {"proc/self/cgroup": groups, **limits})) == 0


def test_this_machine_has_some():
    assert free_host_bytes() > 0
