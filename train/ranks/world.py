"""The processes of a run: who am I, on which device, and how the ranks meet.

Works under the launchers that :mod:`train.ranks.place` knows, and under plain ``python`` with one process. NCCL on
GPUs, gloo on CPUs.
"""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed.rendezvous import rendezvous

from pipeline.ranks import num_own_cores
from shards.base.errors import InputError
from train.ranks.above import refuse_lost_hostfile
from train.ranks.interface import name_interface
from train.ranks.place import Place, read_place

_PATIENCE = timedelta(minutes=10)  # that the ranks have for one another: imports from a shared disk take minutes


@dataclass(frozen=True, kw_only=True)
class World:
    """One process among ``size``; ``device`` is its own GPU, or the CPU."""

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True on the one rank that writes files and shows progress."""
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenates the ranks' (B, ...) tensors, equal in shape, to (size * B, ...) in rank order; no gradient."""
        if self.size == 1:
            return tensor
        tensor = tensor.contiguous()
        everyone = tensor.new_empty((self.size * tensor.shape[0], *tensor.shape[1:]))
        dist.all_gather_into_tensor(everyone, tensor)
        return everyone

    def mean(self, tensor: Tensor) -> Tensor:
        """Averages a tensor over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def total(self, tensor: Tensor) -> Tensor:
        """Adds a tensor up over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def describe_world() -> World:
    """Reads this process's place from the environment, without starting any communication.

    Raises:
        InputError: variables that say no place, a hostfile that is not there, or more processes than GPUs.
    """
    place = read_place()
    if place.launcher == "deepspeed" and place.rank == 0:  # all have one launcher, which then stops the others
        refuse_lost_hostfile()
    device = torch.device("cuda", _gpu(place)) if torch.cuda.is_available() else torch.device("cpu")
    local_rank = place.local_rank or 0 if device.index is None else device.index
    return World(rank=place.rank, size=place.size, local_rank=local_rank, device=device)


def _gpu(place: Place) -> int:
    """The number of this process's GPU among those that it sees."""
    num_gpus = torch.cuda.device_count()
    if num_gpus == 1 and (place.local_rank is None or place.launcher == "srun"):
        return 0  # srun --gpus-per-task shows each process its own
    if place.local_rank is None:
        raise InputError(
            f"LOCAL_RANK: not set, and this machine shows {num_gpus} GPUs; set it to this process's number among those "
            "of its machine"
        )
    if place.local_rank >= num_gpus:
        raise InputError(
            f"LOCAL_RANK {place.local_rank}: this machine shows {num_gpus} GPU(s); start at most as many processes on "
            "it, or set CUDA_VISIBLE_DEVICES to the empty string to compute on its CPU"
        )
    return place.local_rank


def start_processes(world: World) -> None:
    """Joins the ranks to one process group, once a process.

    Raises:
        InputError: the ranks cannot meet, as where a port is in use or a machine unknown, or two have one GPU.
    """
    on_gpu = world.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(world.device)
    if dist.is_initialized():
        return
    if world.size > 1:
        store: Store = _meet(world)
        name_interface(store, rank=world.rank, size=world.size)
    else:  # the store listens on a port that the system picks, so two runs never collide
        store = TCPStore("127.0.0.1", 0, world_size=1, is_master=True)
    if world.size > 1 and on_gpu:
        _refuse_shared_gpu(store, world)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=world.rank,
        world_size=world.size,
        device_id=world.device if on_gpu else None,
    )


def _meet(world: World) -> PrefixStore:
    """The store at MASTER_ADDR and MASTER_PORT, which the leading rank, or its launcher, keeps."""
    place = read_place()
    address, port = place.master_address, place.master_port
    os.environ.update(place.variables())  # which torch and the loader read
    try:
        socket.getaddrinfo(address, port)
    except OSError as error:
        raise InputError(
            f"MASTER_ADDR {address}: not known on {socket.gethostname()} ({error.strerror}); give the name or address "
            "of the machine of rank 0"
        ) from None
    try:
        store, _, _ = next(iter(rendezvous("env://", world.rank, world.size, timeout=_PATIENCE)))
    except dist.DistError as error:
        if "EADDRINUSE" in str(error):
            raise InputError(
                f"MASTER_PORT {port}: in use on this machine, by another run perhaps; choose another with: deepspeed "
                "--master_port N, or set MASTER_PORT"
            ) from None
        raise InputError(
            f"WORLD_SIZE {world.size}: rank {world.rank} on {socket.gethostname()} has not met all others at "
            f"{address}:{port} within {_PATIENCE.seconds // 60} minutes; see whether all were started, and whether "
            "this is the machine of rank 0"
        ) from None
    return PrefixStore("ranks", store)


def _refuse_shared_gpu(store: Store, world: World) -> None:
    gpu = f"{torch.cuda.get_device_properties(world.device).uuid} on {socket.gethostname()}"
    store.set(f"gpu of {world.rank}", gpu)
    everyones = [store.get(f"gpu of {rank}").decode() for rank in range(world.size)]
    if everyones.count(gpu) > 1:
        ranks = [str(rank) for rank, other in enumerate(everyones) if other == gpu]
        raise InputError(
            f"LOCAL_RANK {world.local_rank}: ranks {', '.join(ranks)} would share GPU {gpu}; start one process a GPU"
        )


def share_cores(world: World) -> None:
    """Gives each rank its share of the machine's cores, unless OMP_NUM_THREADS says otherwise. For ranks that have met;
    all call it together."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(num_own_cores(world.size))
