"""The place of this process among those of a run, as its launcher says. Free of torch, so that a mistake is told early.

Understood are RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, which ``deepspeed`` and ``torchrun`` set, and
what ``srun``, Open MPI's ``mpirun`` and MPICH's ``mpiexec`` say instead. The innermost launcher counts: torchrun in a
Slurm step starts its own processes. A shell of ``salloc`` or ``sbatch`` is no step, whatever SLURM_NTASKS says.
"""

import dataclasses
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shards.base.errors import InputError

Launcher = Literal["python", "deepspeed", "torchrun", "srun", "mpirun", "mpiexec"]
Environment = Mapping[str, str]

_MEETING = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PORT = 29500  # as torch and DeepSpeed have it
_PORTS = range(20000, 30000)  # below those that systems give away
_NO_STEP = 2**32 - 16  # from here on, Slurm numbers batch scripts and interactive shells
_REMEDY = "set all of RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT or none, or start with deepspeed, torchrun or srun"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process among ``size``; the ranks meet where rank 0 listens. ``local_rank`` is None where nobody says it."""

    launcher: Launcher
    rank: int = 0
    size: int = 1
    local_rank: int | None = 0
    local_size: int = 1
    master_address: str = "127.0.0.1"
    master_port: int = _PORT

    def variables(self) -> dict[str, str]:
        """The place in the variables that torch, DeepSpeed and the loader read."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank or 0),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(self.master_port),
        }


@dataclass(frozen=True, kw_only=True)
class _Names:
    """Which variables of a launcher say what."""

    rank: str
    size: str
    local_rank: str
    local_size: str = ""


_NAMES: dict[Launcher, _Names] = {
    "mpirun": _Names(
        rank="OMPI_COMM_WORLD_RANK",
        size="OMPI_COMM_WORLD_SIZE",
        local_rank="OMPI_COMM_WORLD_LOCAL_RANK",
        local_size="OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpiexec": _Names(rank="PMI_RANK", size="PMI_SIZE", local_rank="MPI_LOCALRANKID", local_size="MPI_LOCALNRANKS"),
    "srun": _Names(rank="SLURM_PROCID", size="SLURM_STEP_NUM_TASKS", local_rank="SLURM_LOCALID"),
}


def launcher_of(environment: Environment = os.environ) -> Launcher:
    """Who has started this process, by the variables it has left; python where nobody has."""
    if environment.get("TORCHELASTIC_RUN_ID"):
        return "torchrun"
    if environment.get("CROSS_SIZE"):
        return "deepspeed"
    if any(environment.get(name) for name in ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")):
        return "mpirun"
    # srun sets PMI_RANK as well with --mpi=pmi2; mpiexec in a Slurm job sets SLURM_STEP_ID as well.
    if environment.get("MPI_LOCALRANKID"):
        return "mpiexec"
    if _is_step(environment):
        return "srun"
    if any(environment.get(name) for name in ("PMI_RANK", "PMI_SIZE")):
        return "mpiexec"
    return "python"


def read_place(environment: Environment = os.environ) -> Place:
    """The place that the environment gives this process; a variable that is empty counts as not set.

    Raises:
        InputError: variables that are half set, no numbers, out of range or that contradict one another.
    """
    launcher = launcher_of(environment)
    given = [name for name in _MEETING if environment.get(name)]
    names = _names(launcher, environment)
    if names is None:
        return _by_variables(launcher, given, environment)
    told = _told(launcher, names, environment)
    if told.size == 1 and len(given) == len(_MEETING):  # a step of one process, which may have started others
        return _by_variables("python", given, environment)
    pairs = {"RANK": names.rank, "WORLD_SIZE": names.size, "LOCAL_RANK": names.local_rank}
    for name, source in pairs.items():
        if environment.get(name) and environment.get(source) and environment[name] != environment[source]:
            raise InputError(
                f"{name} {environment[name]}: contradicts {source} {environment[source]} of {launcher}; unset {name}, "
                "or start without the launcher"
            )
    return told


def leads_by(environment: Environment = os.environ) -> bool:
    """Whether this process is rank 0, or alone, as far as the environment says, which may be wrong in all else."""
    names = _names(launcher_of(environment), environment)
    rank = environment.get("RANK") or (environment.get(names.rank) if names else "")
    return (rank or "0") == "0"


def _names(launcher: Launcher, environment: Environment) -> _Names | None:
    """None where the launcher sets RANK and the others itself."""
    names = _NAMES.get(launcher)
    if launcher == "srun" and names is not None and not environment.get(names.size):
        return dataclasses.replace(names, size="SLURM_NTASKS")
    return names


def _by_variables(launcher: Launcher, given: list[str], environment: Environment) -> Place:
    """As deepspeed, torchrun or a user have set RANK and the others."""
    missing = [name for name in _MEETING if name not in given]
    if not given and not environment.get("LOCAL_RANK"):
        if launcher == "python":
            return Place(launcher="python")
        raise InputError(f"{', '.join(missing)}: not set, though {launcher} has started this process; {_REMEDY}")
    if missing:
        first = (given or ["LOCAL_RANK"])[0]
        raise InputError(f"{first} {environment[first]}: set without {', '.join(missing)}; {_REMEDY}")
    size = _number("WORLD_SIZE", environment, least=1)
    local_size_name = next((name for name in ("LOCAL_WORLD_SIZE", "LOCAL_SIZE") if environment.get(name)), None)
    local_size = _number(local_size_name, environment, least=1, most=size) if local_size_name else size
    return Place(
        launcher=launcher,
        rank=_number("RANK", environment, most=size - 1),
        size=size,
        local_rank=_local_rank("LOCAL_RANK", environment, local_size),
        local_size=local_size,
        master_address=environment["MASTER_ADDR"],
        master_port=_number("MASTER_PORT", environment, least=1, most=65535),
    )


def _told(launcher: Launcher, names: _Names, environment: Environment) -> Place:
    """As srun, mpirun or mpiexec say; where the ranks meet may be set besides, and LOCAL_RANK as well."""
    size = _number(names.size, environment, least=1)
    rank = _number(names.rank, environment, most=size - 1)
    if size == 1:
        return Place(launcher="python")
    local_size = _local_size(launcher, names, environment, size)
    name = "LOCAL_RANK" if environment.get("LOCAL_RANK") else names.local_rank
    return Place(
        launcher=launcher,
        rank=rank,
        size=size,
        local_rank=_local_rank(name, environment, local_size),
        local_size=local_size,
        master_address=environment.get("MASTER_ADDR") or _first_machine(launcher, environment, local_size == size),
        master_port=_number("MASTER_PORT", environment, least=1, most=65535)
        if environment.get("MASTER_PORT")
        else _port(launcher, environment),
    )


def _local_rank(name: str, environment: Environment, local_size: int) -> int | None:
    if environment.get(name):
        return _number(name, environment, most=local_size - 1)
    return 0 if local_size == 1 else None


def _local_size(launcher: Launcher, names: _Names, environment: Environment, size: int) -> int:
    """Processes of this run on this machine; all of them where nobody says."""
    if launcher != "srun":
        is_said = environment.get(names.local_size)
        return _number(names.local_size, environment, least=1, most=size) if is_said else size
    counts: list[int] = []
    for part in filter(None, environment.get("SLURM_STEP_TASKS_PER_NODE", "").split(",")):  # such as 4(x2),3
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            value = environment["SLURM_STEP_TASKS_PER_NODE"]
            raise InputError(f"SLURM_STEP_TASKS_PER_NODE {value}: not as Slurm writes it, such as 4(x2),3")
        counts += [int(found[1])] * int(found[2] or 1)
    if not counts:
        return size
    node = _number("SLURM_NODEID", environment, most=len(counts) - 1) if len(counts) > 1 else 0
    return min(counts[node], size)


def _first_machine(launcher: Launcher, environment: Environment, is_only: bool) -> str:
    """Where rank 0 is."""
    nodes = environment.get("SLURM_STEP_NODELIST", "") if launcher == "srun" else ""  # such as gpu[01-04,7],big1
    if is_only and not re.search(r"[\[,]", nodes):
        return "127.0.0.1"
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    if first is None:
        raise InputError(
            f"MASTER_ADDR: not set, and {launcher} does not say which machine rank 0 is on; set it to that machine's "
            f"name, and MASTER_PORT to a free port there{', with mpirun -x' if launcher == 'mpirun' else ''}"
        )
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])


def _port(launcher: Launcher, environment: Environment) -> int:
    """A port that is the same for all ranks, and another one for another run of the same machine."""
    if launcher == "srun":
        job = ".".join(environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    else:
        job = environment.get("PMIX_NAMESPACE", "")
    return _PORTS[zlib.crc32(job.encode()) % len(_PORTS)] if job else _PORT


def _is_step(environment: Environment) -> bool:
    step = environment.get("SLURM_STEP_ID", "")
    return bool(step) and not (step.isascii() and step.isdigit() and int(step) >= _NO_STEP)


def _number(name: str, environment: Environment, *, least: int = 0, most: int | None = None) -> int:
    value = environment.get(name, "")
    if not value:
        raise InputError(f"{name}: not set, though others of the launcher are; {_REMEDY}")
    if not (value.isascii() and value.isdigit()) or int(value) < least or (most is not None and int(value) > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}" if most > least else str(least)
        raise InputError(
            f"{name} {value}: must be a whole number, {bounds}; correct it where the processes are started"
        )
    return int(value)
