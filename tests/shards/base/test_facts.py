import platform
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from shards.base.facts import available_memory, num_cores, processor, versions


def test_versions_are_of_what_is_installed():
    found = versions(["python", "numpy", "no-such-package"])
    assert found == {"python": platform.python_version(), "numpy": version("numpy")}


def test_the_processor_is_the_one_that_the_kernel_names():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    assert processor() == (named[0] if named else platform.machine())
    assert 1 <= num_cores() <= psutil.cpu_count()


MEMORY = {"MemTotal": 8_000_000, "MemFree": 100_000, "MemAvailable": 4_000_000, "Buffers": 0, "Cached": 0, "Active": 0}
MEMINFO = "".join(f"{name}: {value:>16} kB\n" for name, value in (MEMORY | {"Inactive": 0, "Shmem": 0}).items())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Writes files as a kernel's, and has psutil read them; returns where they lie."""

    def write(files: dict[str, str]) -> Path:
        for name, text in {"proc/meminfo": MEMINFO, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
        return tmp_path

    return write


def test_without_limits_it_is_what_the_machine_has(machine):
    root = machine({"proc/self/cgroup": "0::/user\n", "sys/fs/cgroup/user/memory.max": "max\n"})
    assert available_memory(root) == 4_000_000 * 1024


@pytest.mark.parametrize("group", ["/job/step", "/", "/elsewhere"])
def test_the_tightest_group_counts_and_page_cache_does_not(machine, group):
    limits = {
        "sys/fs/cgroup/memory.max": "3000000000\n",
        "sys/fs/cgroup/memory.current": "2000000000\n",
        "sys/fs/cgroup/memory.stat": "anon 500000000\ninactive_file 1500000000\n",
        "sys/fs/cgroup/job/memory.max": "1000000000\n",
        "sys/fs/cgroup/job/memory.current": "300000000\n",
        "sys/fs/cgroup/job/memory.stat": "inactive_file 100000000\n",
    }
    root = machine({"proc/self/cgroup": f"0::{group}\n", **limits})
    assert available_memory(root) == (800_000_000 if group == "/job/step" else 2_500_000_000)


def test_version_1_groups(machine):
    folder = "sys/fs/cgroup/memory/docker"
    limits = {
        f"{folder}/memory.limit_in_bytes": "1000000\n",
        f"{folder}/memory.usage_in_bytes": "1500000\n",
        f"{folder}/memory.stat": "total_inactive_file 100000\n",
    }
    groups = "5:cpu,cpuacct:/docker\n4:memory:/docker\n"
    assert available_memory(machine({"proc/self/cgroup": groups, **limits})) == 0


def test_this_machine_has_some():
    assert available_memory() > 0
