"""The command that goes on with a run, whoever has started it."""

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from train.ranks.above import command_above, own_arguments
from train.ranks.launch import ASKED_BY
from train.ranks.place import launcher_of
from train.ranks.world import World

_CHOSEN = ("CUDA_VISIBLE_DEVICES", "MASTER_ADDR", "MASTER_PORT")


def continuing_command(world: World) -> str:
    """The command line that goes on with this run: the launcher's own, with the devices and the port that were chosen;
    where that cannot be seen, one that starts as many processes."""
    launcher = launcher_of()
    is_launched = launcher != "python" or world.size > 1
    found = command_above() if is_launched else None
    if found is not None:
        command, environment = found
        return _joined(_as_typed(command), _CHOSEN, environment)
    own = own_arguments()
    program = ["moco-cxr", "pretrain", *own[1:]] if Path(own[0]).name == "moco-cxr" else ["python", *own]
    if not is_launched:
        return _joined(program, _CHOSEN[:1], os.environ)
    if os.environ.get(ASKED_BY) == str(os.getppid()):
        return _joined(["moco-cxr", "pretrain", *own[1:], "--num-processes", str(world.size)], _CHOSEN[:1], os.environ)
    if launcher == "srun":  # Slurm chooses the devices
        nodes = os.environ.get("SLURM_STEP_NUM_NODES", "1")
        return shlex.join(["srun", "--nodes", nodes, "--ntasks", str(world.size), *program])
    if launcher in ("mpirun", "mpiexec"):
        return _joined([launcher, "-n", str(world.size), *program], _CHOSEN[:1], os.environ)
    port = os.environ.get("MASTER_PORT")
    if launcher == "torchrun":
        local_size = os.environ.get("LOCAL_WORLD_SIZE", str(world.size))
        meeting = ["--master-port", port] if port else []
        return _joined(["torchrun", "--nproc-per-node", local_size, *meeting, *own], _CHOSEN[:1], os.environ)
    meeting = ["--master_port", port] if port else []
    if int(os.environ.get("CROSS_SIZE", "1")) > 1:
        return shlex.join(["deepspeed", "--hostfile", "HOSTFILE", *meeting, *own])
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    is_chosen = devices is not None and devices != ",".join(map(str, range(world.size)))
    if is_chosen and world.device.type == "cuda":
        return shlex.join(["deepspeed", "--include", f"localhost:{devices}", *meeting, *own])
    command = ["deepspeed", "--num_accelerators", str(world.size), *meeting, *own]
    return _joined(command, _CHOSEN[:1] if is_chosen else (), os.environ)


def _as_typed(command: list[str]) -> list[str]:
    """A command as a shell takes it: ``torchrun`` for ``/usr/bin/python3 /opt/venv/bin/torchrun``."""
    if not Path(command[0]).name.startswith("python"):
        return command
    is_script = command[1].startswith("/") and Path(command[1]).parent == Path(command[0]).parent
    return [Path(command[1]).name, *command[2:]] if is_script else ["python", *command[1:]]


def _joined(command: list[str], names: Iterable[str], environment: Mapping[str, str]) -> str:
    return shlex.join([*(f"{name}={environment[name]}" for name in names if name in environment), *command])
