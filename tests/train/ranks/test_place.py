"""Environments as launchers leave them, to a place in the world or to one line."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from shards.base.errors import InputError
from tests.train.processes import free_port
from tests.train.runs import ENTRY, SETTINGS, assert_equal_ends, start_run_on_ranks
from train.ranks.place import Place, leads_by, read_place

MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29700"}
BY_HAND = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **MEETING}
# As Slurm 22.05, Open MPI 4.1 and MPICH 4.0 leave them, without what says nothing of the place.
SHELL = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
STEP = SHELL | {
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "953417729",
    "PMIX_RANK": "1",
}
HYDRA = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
ALONE = STEP | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}

PLACES: dict[str, tuple[Mapping[str, str], tuple[str, int, int, int | None, int, str]]] = {
    "nothing": ({}, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "empty": ({"RANK": "", "WORLD_SIZE": ""}, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "by hand": (BY_HAND, ("python", 1, 2, 1, 2, "10.0.0.1")),
    "no local rank": (BY_HAND | {"LOCAL_RANK": ""}, ("python", 1, 2, None, 2, "10.0.0.1")),
    "deepspeed": (BY_HAND | {"CROSS_SIZE": "1", "LOCAL_SIZE": "2"}, ("deepspeed", 1, 2, 1, 2, "10.0.0.1")),
    "torchrun": (BY_HAND | {"TORCHELASTIC_RUN_ID": "none"}, ("torchrun", 1, 2, 1, 2, "10.0.0.1")),
    "sbatch": (SHELL, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "salloc": ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "interactive": (SHELL | {"SLURM_STEP_ID": "4294967290"}, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "srun": (STEP, ("srun", 3, 4, 1, 2, "gpu07")),
    "srun, its older name": (STEP | {"SLURM_STEP_NUM_TASKS": ""}, ("srun", 3, 4, 1, 2, "gpu07")),
    "srun, nodes unlike": (
        STEP | {"SLURM_STEP_TASKS_PER_NODE": "1,3", "SLURM_STEP_NODELIST": "a-1,gpu[07-08]"},
        ("srun", 3, 4, 1, 3, "a-1"),
    ),
    "srun, racks": (STEP | {"SLURM_STEP_NODELIST": "r[2-3]n[04,09]"}, ("srun", 3, 4, 1, 2, "r2n04")),
    "srun, one node": (
        STEP | {"SLURM_STEP_NODELIST": "gpu07", "SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_NODEID": "0"},
        ("srun", 3, 4, 1, 4, "127.0.0.1"),
    ),
    "srun with pmi2": (STEP | {"PMI_RANK": "3", "PMI_SIZE": "4"}, ("srun", 3, 4, 1, 2, "gpu07")),
    "srun, where to meet": (STEP | MEETING, ("srun", 3, 4, 1, 2, "10.0.0.1")),
    "srun, said twice": (STEP | MEETING | {"RANK": "3", "WORLD_SIZE": "4"}, ("srun", 3, 4, 1, 2, "10.0.0.1")),
    "srun of one": (ALONE, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "srun of one, where to meet": (ALONE | MEETING | {"WORLD_SIZE": "1"}, ("python", 0, 1, 0, 1, "127.0.0.1")),
    "srun of one that starts others": (ALONE | BY_HAND, ("python", 1, 2, 1, 2, "10.0.0.1")),
    "srun torchrun": (STEP | BY_HAND | {"TORCHELASTIC_RUN_ID": "none"}, ("torchrun", 1, 2, 1, 2, "10.0.0.1")),
    "mpirun": (OPEN_MPI, ("mpirun", 1, 2, 1, 2, "127.0.0.1")),
    "mpirun in a job": (STEP | OPEN_MPI, ("mpirun", 1, 2, 1, 2, "127.0.0.1")),
    "mpirun, two machines": (
        OPEN_MPI | MEETING | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"},
        ("mpirun", 1, 2, 0, 1, "10.0.0.1"),
    ),
    "mpiexec": (HYDRA, ("mpiexec", 1, 2, 1, 2, "127.0.0.1")),
    "mpiexec in a job": (STEP | HYDRA, ("mpiexec", 1, 2, 1, 2, "127.0.0.1")),
    "deepspeed --launcher mpich": (HYDRA | BY_HAND | {"LOCAL_SIZE": "2"}, ("mpiexec", 1, 2, 1, 2, "10.0.0.1")),
}


@pytest.mark.parametrize("name", PLACES)
def test_places(name: str) -> None:
    environment, (launcher, rank, size, local_rank, local_size, address) = PLACES[name]
    place = read_place(environment)
    assert (place.launcher, place.rank, place.size, place.local_rank) == (launcher, rank, size, local_rank)
    assert (place.local_size, place.master_address) == (local_size, address)
    assert leads_by(environment) == (rank == 0)


REFUSALS: list[tuple[Mapping[str, str], str]] = [
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE 2: set without RANK, MASTER_ADDR, MASTER_PORT"),
    ({"RANK": "0"}, "RANK 0: set without WORLD_SIZE, "),
    ({"LOCAL_RANK": "0"}, "LOCAL_RANK 0: set without RANK, WORLD_SIZE, "),
    (MEETING, "MASTER_ADDR 10.0.0.1: set without RANK, WORLD_SIZE;"),
    ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK 0: set without MASTER_ADDR, MASTER_PORT;"),
    (BY_HAND | {"MASTER_PORT": ""}, "RANK 1: set without MASTER_PORT;"),
    ({"TORCHELASTIC_RUN_ID": "none"}, "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: not set, though torchrun has"),
    (SHELL | {"WORLD_SIZE": "4"}, "WORLD_SIZE 4: set without RANK, "),
    (BY_HAND | {"RANK": "one"}, "RANK one: must be a whole number, from 0 to 1"),
    (BY_HAND | {"RANK": "-1"}, "RANK -1: must be"),
    (BY_HAND | {"RANK": "2"}, "RANK 2: must be a whole number, from 0 to 1"),
    (BY_HAND | {"WORLD_SIZE": "0"}, "WORLD_SIZE 0: must be a whole number, 1 or more"),
    (BY_HAND | {"WORLD_SIZE": "2.0"}, "WORLD_SIZE 2.0: must be"),
    (BY_HAND | {"LOCAL_RANK": "2"}, "LOCAL_RANK 2: must be"),
    (BY_HAND | {"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE 3: must be a whole number, from 1 to 2"),
    (BY_HAND | {"MASTER_PORT": "http"}, "MASTER_PORT http: must be"),
    (BY_HAND | {"MASTER_PORT": "70000"}, "MASTER_PORT 70000: must be"),
    (STEP | {"SLURM_PROCID": "4"}, "SLURM_PROCID 4: must be a whole number, from 0 to 3"),
    (STEP | {"SLURM_PROCID": ""}, "SLURM_PROCID: not set"),
    (STEP | {"SLURM_STEP_NUM_TASKS": "four"}, "SLURM_STEP_NUM_TASKS four: must be"),
    (STEP | {"SLURM_LOCALID": "2"}, "SLURM_LOCALID 2: must be a whole number, from 0 to 1"),
    (STEP | {"SLURM_STEP_TASKS_PER_NODE": "2x2"}, "SLURM_STEP_TASKS_PER_NODE 2x2: not as Slurm writes it"),
    (STEP | {"RANK": "0"}, "RANK 0: contradicts SLURM_PROCID 3 of srun"),
    (STEP | BY_HAND, "RANK 1: contradicts SLURM_PROCID 3 of srun"),
    (STEP | {"WORLD_SIZE": "8"}, "WORLD_SIZE 8: contradicts SLURM_STEP_NUM_TASKS 4 of srun"),
    (STEP | {"SLURM_STEP_NUM_TASKS": "", "WORLD_SIZE": "8"}, "WORLD_SIZE 8: contradicts SLURM_NTASKS 4 of srun"),
    (ALONE | {"WORLD_SIZE": "2"}, "WORLD_SIZE 2: contradicts SLURM_STEP_NUM_TASKS 1 of srun"),
    (OPEN_MPI | {"RANK": "0"}, "RANK 0: contradicts OMPI_COMM_WORLD_RANK 1 of mpirun"),
    (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": ""}, "OMPI_COMM_WORLD_SIZE: not set"),
    (
        OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"},
        "MASTER_ADDR: not set, and mpi",
    ),
    (HYDRA | {"PMI_SIZE": "1"}, "PMI_RANK 1: must be a whole number, 0"),
    ({"PMI_SIZE": "2"}, "PMI_RANK: not set"),
]


@pytest.mark.parametrize(("environment", "said"), REFUSALS, ids=[said for _, said in REFUSALS])
def test_refusals(environment: Mapping[str, str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_place(environment)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "job"), [(STEP, "SLURM_JOB_ID"), (STEP, "SLURM_STEP_ID"), (OPEN_MPI, "PMIX_NAMESPACE")]
)
def test_two_jobs_of_a_machine_meet_at_two_ports(environment: Mapping[str, str], job: str) -> None:
    ports = {read_place(environment | {job: str(number)}).master_port for number in range(1, 30)}
    assert len(ports) > 25
    assert all(1024 < port < 32768 for port in ports)


def test_the_variables_say_the_same_place() -> None:
    place = read_place(STEP)
    again = read_place(place.variables())
    assert again == Place(**(vars(place) | {"launcher": "python"}))
    assert read_place(STEP | place.variables()) == place


def refused(variables: Mapping[str, str]) -> tuple[int, list[str]]:
    """What pretraining says and its exit code, where these variables are set."""
    command = [sys.executable, str(ENTRY), "debug", "--data", "nowhere", "--output", "nowhere"]
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr.splitlines()


def test_half_a_world_is_one_line() -> None:
    status, lines = refused({"WORLD_SIZE": "2"})
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith("error: WORLD_SIZE 2: set without RANK")


@pytest.mark.slow
def test_a_machine_that_nobody_knows_is_one_line() -> None:
    status, lines = refused(BY_HAND | {"MASTER_ADDR": "no-such-machine.invalid"})
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: MASTER_ADDR no-such-machine.invalid: not known on {socket.gethostname()}")


@pytest.fixture(scope="module")
def usual_run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("usual") / "run"
    for process in start_run_on_ranks(tiny_dataset, output, *SETTINGS):
        assert process.wait(timeout=180) == 0
    return output


def of_rank(variables: Mapping[str, str], rank: int) -> dict[str, str]:
    ranks = ("SLURM_PROCID", "SLURM_LOCALID", *(name for name in variables if name.endswith(("_RANK", "_LOCALRANKID"))))
    return {**variables, **{name: str(rank) for name in ranks if name in variables}}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["srun", "mpirun", "mpiexec"])
def test_two_processes_of_a_launcher_are_one_run(
    tiny_dataset: Path, usual_run: Path, tmp_path: Path, launcher: str
) -> None:
    one_node = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "one", "SLURM_STEP_TASKS_PER_NODE": "2"}
    variables = {
        "srun": STEP | one_node | {"SLURM_NODEID": "0", "SLURM_JOB_ID": str(os.getpid())},
        "mpirun": OPEN_MPI | {"PMIX_NAMESPACE": str(os.getpid())},
        "mpiexec": HYDRA | {"MASTER_PORT": str(free_port())},
    }[launcher]
    output = tmp_path / "run"
    command = [sys.executable, str(ENTRY), "debug", "--data", str(tiny_dataset), "--output", str(output), *SETTINGS]
    common = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(command, env=common | of_rank(variables, rank), stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=180)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert_equal_ends(output, usual_run, 4)
