from pathlib import Path

import pytest

from pipeline.memory import free_host_bytes

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
