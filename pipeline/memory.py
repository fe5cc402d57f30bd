"""How much memory there is for decoded pixels: of this machine within its control groups, and of a GPU."""

from collections.abc import Iterator
from pathlib import Path

import torch


def free_host_bytes(root: Path = Path("/")) -> int:
    """Bytes that can still be taken without swapping: what the machine has available, or what is left to this process's
    control group (a container, a batch job) if that is less."""
    lines = (root / "proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min([available, *_left_to_groups(root)])


def free_device_bytes(device: torch.device) -> int:
    """Bytes that a GPU has free."""
    return int(torch.cuda.mem_get_info(device)[0])


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
