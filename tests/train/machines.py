"""Several machines on this one: network namespaces with names of their own, around a switch. Not a test by itself."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PORT = 29555
_CARD, _NOBODY = "eth7", "02:00:00:00:00:99"
_ENTER = 'mount --bind "$1" /etc/hosts && hostname "$2" && shift 2 && exec "$@"'


class Machines:
    """Machines 0, 1, ...; the address of machine N is ``address(N)``, and its ``/etc/hosts`` is as Debian writes it:
    the own name is 127.0.1.1, the others' are their addresses."""

    def __init__(self, folder: Path, number: int) -> None:
        self.names = [f"cxr{os.getpid()}n{each}" for each in range(number)]
        self._folder = folder

    def address(self, number: int) -> str:
        return f"10.213.7.{number + 1}"

    def inside(self, number: int) -> list[str]:
        """What stands before a command that is to run on a machine."""
        name = self.names[number]
        hosts = self._folder / f"{name}.hosts"
        known = [f"{self.address(other)} {self.names[other]}\n" for other in range(len(self.names)) if other != number]
        hosts.write_text("".join([f"127.0.0.1 localhost\n127.0.1.1 {name}\n", *known]))
        enter = ["unshare", "--mount", "--uts", "sh", "-c", _ENTER, "sh", str(hosts), name]
        return ["ip", "netns", "exec", name, *enter]

    def run(self, number: int, command: Sequence[str], **more: str) -> "subprocess.Popen[str]":
        """Starts a command on a machine; standard error goes with standard output."""
        bare = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        fixed = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "PATH": path}
        return subprocess.Popen(
            [*self.inside(number), *command],
            env=bare | fixed | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def start(
        self, number: int, arguments: Sequence[str], *, rank: int, size: int, local_rank: int = 0, master: str = ""
    ) -> "subprocess.Popen[str]":
        """Starts ``python ARGUMENTS`` as a rank on a machine."""
        place: Mapping[str, object] = {
            "RANK": rank,
            "WORLD_SIZE": size,
            "LOCAL_RANK": local_rank,
            "MASTER_ADDR": master or self.address(0),
            "MASTER_PORT": PORT,
        }
        return self.run(number, [sys.executable, *arguments], **{name: str(value) for name, value in place.items()})

    def cut(self, how: str, number: int = 1) -> None:
        """``down``: the card of a machine is down. ``silent``: whatever is sent to it and from it is lost on its way,
        as with a switch that has failed."""
        if how == "down":
            _ip("-n", self.names[number], "link", "set", _CARD, "down")
            return
        for other in range(len(self.names)):
            if other != number:
                self.cut_between(number, other)

    def cut_between(self, one: int, other: int) -> None:
        """What these two send each other is lost; both still reach all others."""
        for here, there in ((one, other), (other, one)):
            _ip(
                *("-n", self.names[here], "neigh", "replace", self.address(there), "lladdr", _NOBODY),
                *("dev", _CARD, "nud", "permanent"),
            )


@contextmanager
def machines_on_a_switch(folder: Path, number: int = 2) -> Iterator[Machines]:
    """Skips the test where namespaces are not permitted."""
    machines = Machines(folder, number)
    switch = f"cxr{os.getpid()}sw"
    with ExitStack() as stack:
        for name in (*machines.names, switch):
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
            stack.callback(_ip, "netns", "del", name)
        words = ["ip", "-n", switch, "link", "add", "switch", "type", "bridge"]
        made = subprocess.run(words, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no bridges between network namespaces here: {made.stderr.strip()}")
        _ip("-n", switch, "link", "set", "switch", "up")
        for each, name in enumerate(machines.names):
            port = f"p{each}"
            _ip("link", "add", _CARD, "netns", name, "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", switch, "link", "set", port, "master", "switch", "up")
            _ip("-n", name, "addr", "add", f"{machines.address(each)}/24", "dev", _CARD)
            _ip("-n", name, "link", "set", _CARD, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield machines


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
