"""The processes of a run: who am I, on which device, and how the ranks meet.

Works under the ``deepspeed`` launcher (or any other that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT) and under plain ``python`` with one process. NCCL on GPUs, gloo on CPUs.
"""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed.rendezvous import rendezvous

from shards.base.errors import InputError
from shards.base.facts import num_cores


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
        InputError: more processes than GPUs.
    """
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available() and local_rank >= torch.cuda.device_count():
        raise InputError(
            f"LOCAL_RANK {local_rank}: this machine shows {torch.cuda.device_count()} GPU(s); start at most as many "
            "processes on it, or set CUDA_VISIBLE_DEVICES to the empty string to compute on its CPU"
        )
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    return World(
        rank=int(os.environ.get("RANK", "0")),
        size=int(os.environ.get("WORLD_SIZE", "1")),
        local_rank=local_rank,
        device=device,
    )


def start_processes(world: World) -> None:
    """Joins the ranks to one process group, once a process.

    Raises:
        InputError: the port at which the ranks are to meet is in use.
    """
    on_gpu = world.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(world.device)
    if dist.is_initialized():
        return
    backend, device_id = ("nccl", world.device) if on_gpu else ("gloo", None)
    if "RANK" in os.environ:
        dist.init_process_group(
            backend, store=_meet(world), rank=world.rank, world_size=world.size, device_id=device_id
        )
    else:  # plain python: the store listens on a port that the system picks, so two runs never collide
        os.environ["LOCAL_RANK"] = "0"  # DeepSpeed reads it
        store = TCPStore("127.0.0.1", 0, world_size=1, is_master=True)
        dist.init_process_group(backend, store=store, rank=0, world_size=1, device_id=device_id)


def _meet(world: World) -> PrefixStore:
    """The store at MASTER_ADDR and MASTER_PORT, which the leading rank, or its launcher, keeps."""
    try:
        store, _, _ = next(iter(rendezvous("env://", world.rank, world.size)))
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise InputError(
            f"MASTER_PORT {os.environ.get('MASTER_PORT')}: in use on this machine, by another run perhaps; choose "
            "another with: deepspeed --master_port N"
        ) from None
    return PrefixStore("ranks", store)


def share_cores(world: World) -> None:
    """Gives each local rank its share of the cores, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or world.size)
        torch.set_num_threads(max(1, num_cores() // local_size))
