"""Ranks talk over the interface that reaches the others, whatever /etc/hosts says of a machine's own name."""

import ipaddress
import os
from pathlib import Path

import psutil
import pytest
from torch.distributed import HashStore

from tests.train.machines import machines_on_a_switch
from train.ranks.interface import name_interface

SCRIPT = """
import os
import torch
from train.ranks.world import describe_world, start_processes
world = describe_world()
start_processes(world)
print(world.total(torch.ones(1)).item(), os.environ.get("GLOO_SOCKET_IFNAME"), os.environ.get("NCCL_SOCKET_IFNAME"))
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "")  # to be put back behind the test
        monkeypatch.delenv(name)
    return monkeypatch


def outward() -> tuple[str, str]:
    """An interface of this machine that is not its loopback, and its address."""
    for name, addresses in psutil.net_if_addrs().items():
        for each in addresses:
            if each.family.name == "AF_INET" and not ipaddress.ip_address(each.address).is_loopback:
                return name, each.address
    pytest.skip("this machine has no network interface but its own loopback")


def test_on_one_machine_nothing_is_set(environment: pytest.MonkeyPatch) -> None:
    store = HashStore()
    environment.setenv("MASTER_ADDR", "localhost")
    for rank in (1, 0):
        name_interface(store, rank=rank, size=2)
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    assert "NCCL_SOCKET_IFNAME" not in os.environ


@pytest.mark.parametrize("master", ["address", "127.0.1.1"])
def test_the_interface_that_reaches_the_others_unless_the_user_names_one(
    environment: pytest.MonkeyPatch, master: str
) -> None:
    name, address = outward()
    store = HashStore()
    environment.setenv("MASTER_ADDR", address)
    name_interface(store, rank=1, size=2)
    assert os.environ["GLOO_SOCKET_IFNAME"] == name
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        environment.delenv(variable)
    environment.setenv("NCCL_SOCKET_IFNAME", "ib")
    environment.setenv("MASTER_ADDR", address if master == "address" else master)
    name_interface(store, rank=0, size=2)
    assert os.environ["GLOO_SOCKET_IFNAME"] == name
    assert os.environ["NCCL_SOCKET_IFNAME"] == "ib"


@pytest.mark.slow
@pytest.mark.parametrize("by_name", [False, True])
def test_two_machines_whose_names_are_loopback_to_themselves(tmp_path: Path, by_name: bool) -> None:
    with machines_on_a_switch(tmp_path) as machines:
        master = machines.names[0] if by_name else ""
        ranks = [machines.start(rank, ["-c", SCRIPT], rank=rank, size=2, master=master) for rank in range(2)]
        outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert outputs == ["2.0 eth7 =eth7\n"] * 2
