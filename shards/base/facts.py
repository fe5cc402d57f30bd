"""Facts of the machine and of what is installed: processor, cores, memory, versions."""

import functools
import os
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


@functools.cache
def processor() -> str:
    """The processor's name, such as ``AMD EPYC 9R14``. The first call takes about a second."""
    import cpuinfo

    return str(cpuinfo.get_cpu_info().get("brand_raw") or platform.machine())


def num_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


@functools.cache
def boot_id() -> str | None:
    """Tells this machine, while it is up, from all others, also of the same name; its containers have it in common.
    None where the system hides it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each of these packages that is installed, and of ``python``."""
    found = {}
    for name in names:
        try:
            found[name] = platform.python_version() if name == "python" else version(name)
        except PackageNotFoundError:
            continue
    return found


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can still be taken without swapping: what the machine has available, or what is left to this process's
    control group (a container, a batch job) if that is less.

    Args:
        root: where the kernel tells of control groups.
    """
    return min([psutil.virtual_memory().available, *_left_to_groups(root)])


def _left_to_groups(root: Path) -> Iterator[int]:
    """Limit less use, without the page cache that can be dropped, of each control group around this process."""
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = top / path.lstrip("/")
        # A container often sees its own group as the top of the tree.
        for folder in dict.fromkeys([group, *group.parents, top]):
            if folder.is_relative_to(top) and (folder / names[0]).is_file():
                yield from _left(folder, *names)


def _left(folder: Path, limit_name: str, use_name: str, cache_name: str) -> Iterator[int]:
    limit = (folder / limit_name).read_text().strip()
    if limit != "max":
        statistics = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
        use = int((folder / use_name).read_text()) - int(statistics.get(cache_name, 0))
        yield max(0, int(limit) - use)
