import sys
from collections.abc import Mapping

import pytest
import torch

import train.ranks.again
from train.ranks.again import continuing_command
from train.ranks.world import World

OWN = "train/pretrain.py debug --data 'my data'"
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
PORT = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29700"}
DEEPSPEED = {"CROSS_SIZE": "1", "CUDA_VISIBLE_DEVICES": "0,1", **PORT}
CLEARED = ("CUDA_VISIBLE_DEVICES", "CROSS_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["train/pretrain.py", "--local_rank=0", "debug", "--data", "my data"])


@pytest.mark.parametrize(
    ("size", "device", "environment", "command"),
    [
        (1, CPU, {}, "python"),
        (1, GPU, {"CUDA_VISIBLE_DEVICES": "5"}, "CUDA_VISIBLE_DEVICES=5 python"),
        (1, CPU, {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES= python"),
        (2, CPU, PORT, "deepspeed --num_accelerators 2 --master_port 29700"),
        (2, GPU, DEEPSPEED, "deepspeed --num_accelerators 2 --master_port 29700"),
        (1, GPU, DEEPSPEED | {"CUDA_VISIBLE_DEVICES": "0"}, "deepspeed --num_accelerators 1 --master_port 29700"),
        (
            2,
            GPU,
            DEEPSPEED | {"CUDA_VISIBLE_DEVICES": "4,5"},
            "deepspeed --include localhost:4,5 --master_port 29700",
        ),
        (4, GPU, DEEPSPEED | {"CROSS_SIZE": "2"}, "deepspeed --hostfile HOSTFILE --master_port 29700"),
        (
            2,
            GPU,
            {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "4,5", **PORT},
            "CUDA_VISIBLE_DEVICES=4,5 torchrun --nproc-per-node 2 --master-port 29700",
        ),
        (
            4,
            GPU,
            {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "2", "CUDA_VISIBLE_DEVICES": "0"},
            "srun --nodes 2 --ntasks 4 python",
        ),
        (2, CPU, {"OMPI_COMM_WORLD_RANK": "0"}, "mpirun -n 2 python"),
        (
            2,
            GPU,
            {"MPI_LOCALRANKID": "0", "CUDA_VISIBLE_DEVICES": "2,3"},
            "CUDA_VISIBLE_DEVICES=2,3 mpiexec -n 2 python",
        ),
    ],
)
def test_starts_as_many_processes_on_the_same_devices(
    monkeypatch: pytest.MonkeyPatch, size: int, device: torch.device, environment: Mapping[str, str], command: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    world = World(rank=0, size=size, local_rank=0, device=device)
    assert continuing_command(world) == f"{command} {OWN}"


@pytest.mark.parametrize(
    ("above", "environment", "command"),
    [
        (["/opt/v/bin/python3", "/opt/v/bin/deepspeed", "--master_port", "29701"], {}, "deepspeed --master_port 29701"),
        (
            ["/opt/v/bin/python3.11", "/opt/v/bin/torchrun", "--standalone", "--nproc-per-node", "2"],
            {"CUDA_VISIBLE_DEVICES": "4,5", "HOME": "/root"},
            "CUDA_VISIBLE_DEVICES=4,5 torchrun --standalone --nproc-per-node 2",
        ),
        (["/usr/bin/python3", "-m", "torch.distributed.run"], {}, "python -m torch.distributed.run"),
        (
            ["mpirun", "--bind-to", "none", "-n", "2", "python"],
            {"MASTER_PORT": "29702"},
            "MASTER_PORT=29702 mpirun --bind-to none -n 2 python",
        ),
    ],
)
def test_the_launcher_s_own_command_goes_before_a_guess(
    monkeypatch: pytest.MonkeyPatch, above: list[str], environment: Mapping[str, str], command: str
) -> None:
    typed = [*above, "train/pretrain.py", "debug", "--data", "my data"]
    monkeypatch.setattr(train.ranks.again, "command_above", lambda: (typed, environment))
    assert continuing_command(World(rank=0, size=2, local_rank=0, device=CPU)) == f"{command} {OWN}"
