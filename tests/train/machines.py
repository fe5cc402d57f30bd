"""Two machines on this one: network namespaces with names of their own and a link between. Not a test by itself."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PORT = 29555
_CARD, _NOBODY = "eth7", "02:00:00:00:00:99"


class Machines:
    """Machines 0 and 1; the address of machine N is ``address(N)``, and its ``/etc/hosts`` is as Debian writes it: the
    own name is 127.0.1.1."""

    def __init__(self, folder: Path) -> None:
        self.names = [f"cxr{os.getpid()}n{number}" for number in range(2)]
        self._folder = folder

    def address(self, number: int) -> str:
        return f"10.213.7.{number + 1}"

    def start(
        self, number: int, arguments: Sequence[str], *, rank: int, size: int, local_rank: int = 0, master: str = ""
    ) -> "subprocess.Popen[str]":
        """Starts ``python ARGUMENTS`` as a rank on a machine."""
        name = self.names[number]
        hosts = self._folder / f"{name}.hosts"
        hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n{self.address(0)} {self.names[0]}\n")
        script = 'mount --bind "$1" /etc/hosts && hostname "$2" && shift 2 && exec "$@"'
        enter = ["ip", "netns", "exec", name, "unshare", "--mount", "--uts", "sh", "-c", script, "sh", str(hosts), name]
        return subprocess.Popen(
            [*enter, sys.executable, *arguments],
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(local_rank)}
            | {"MASTER_ADDR": master or self.address(0), "MASTER_PORT": str(PORT)}
            | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def cut(self, how: str) -> None:
        """``down``: the card of machine 1 is down, and machine 0 sees no carrier. ``silent``: whatever is sent is lost
        on its way, as with a switch that has failed."""
        if how == "down":
            _ip("-n", self.names[1], "link", "set", _CARD, "down")
            return
        for number, name in enumerate(self.names):
            other = self.address(1 - number)
            _ip("-n", name, "neigh", "replace", other, "lladdr", _NOBODY, "dev", _CARD, "nud", "permanent")


@contextmanager
def two_machines(folder: Path) -> Iterator[Machines]:
    """Skips the test where namespaces are not permitted."""
    machines = Machines(folder)
    with ExitStack() as stack:
        for name in machines.names:
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
            stack.callback(_ip, "netns", "del", name)
        first, second = machines.names
        _ip("link", "add", _CARD, "netns", first, "type", "veth", "peer", "name", _CARD, "netns", second)
        for number, name in enumerate(machines.names):
            _ip("-n", name, "addr", "add", f"{machines.address(number)}/24", "dev", _CARD)
            _ip("-n", name, "link", "set", _CARD, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield machines


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
