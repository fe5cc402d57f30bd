"""Which of a machine's network interfaces the ranks talk over, where nobody has said it."""

import contextlib
import ipaddress
import os
import socket

import psutil
from torch._C._distributed_c10d import Store

_VARIABLES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}  # without the sign NCCL takes a beginning
_KEY = "address of the last rank"


def name_interface(store: Store, *, rank: int, size: int) -> None:
    """Has gloo and NCCL use the interface that reaches MASTER_ADDR, unless that is this machine alone.

    Gloo would take the address that belongs to the machine's own name: in Debian's ``/etc/hosts`` that is 127.0.1.1,
    which no other machine reaches. Where MASTER_ADDR is such a name, of this very machine, the interface is taken that
    reaches the last rank. All ranks call it together.
    """
    own = _address_towards(os.environ["MASTER_ADDR"])
    if rank == size - 1:
        store.set(_KEY, own)
    if _is_loopback(own):
        own = _address_towards(store.get(_KEY).decode())
    if _is_loopback(own):
        return
    for name, addresses in psutil.net_if_addrs().items():
        if own in [each.address.split("%")[0] for each in addresses]:
            for variable, form in _VARIABLES.items():
                os.environ.setdefault(variable, form.format(name))


def _address_towards(host: str) -> str:
    """The address under which this machine sends to another; nothing is sent."""
    for family, kind, protocol, _, there in socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM):
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:  # no way there by IPv6, say
            probe.connect(there)
            return str(probe.getsockname()[0]).split("%")[0]
    return "127.0.0.1"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
