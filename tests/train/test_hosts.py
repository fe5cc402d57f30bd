"""Whole runs on two and three hosts, made of network namespaces: started by each launcher, they end with the weights
of one host with as many ranks; a link is cut, a host or a rank is lost, and all end soon with one clear error."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.train.machines import PORT, Machines, machines_on_a_switch
from tests.train.runs import ENTRY, assert_equal_ends, checkpoint_steps, last_step, start_run_on_ranks, wait_for
from tests.train.test_lost_ranks import ends

SETTINGS = ["--run.batch-size", "8", "--method.queue-size", "48", "--run.epochs", "2"]
BIN = Path(sys.executable).parent

# Stands in for pdsh, which would ask each host by ssh: it enters the namespace of each.
PDSH = """#!{python}
import json, pathlib, subprocess, sys
inside = json.loads(pathlib.Path({inside!r}).read_text())
words, names = sys.argv[1:], sys.argv[sys.argv.index("-w") + 1].split(",")
command = " ".join(words[words.index("-w") + 2 :])
assert "launcher.launch" in command and "pkill" not in command
ranks = [
    subprocess.Popen([*inside[name], "sh", "-c", command.replace("%n", str(number))])
    for number, name in enumerate(names)
]
sys.exit(max(rank.wait() for rank in ranks))
"""


def start_hosts(machines: Machines, launcher: str, arguments: list[str], folder: Path) -> list["subprocess.Popen[str]"]:
    """Starts a run with one rank a host; returns the commands that somebody would have typed."""
    names, number = machines.names, len(machines.names)
    hostfile = folder / "hosts"
    hostfile.write_text("".join(f"{name} slots=1\n" for name in names))
    meeting = [f"--master_addr={machines.address(0)}", f"--master_port={PORT}"]
    deepspeed = [str(BIN / "deepspeed"), "--hostfile", str(hostfile), *meeting]
    match launcher:
        case "torchrun":
            own = ["--nnodes", str(number), "--nproc-per-node", "1", *(each.replace("_", "-") for each in meeting)]
            return [
                machines.run(each, [str(BIN / "torchrun"), *own, "--node-rank", str(each), *arguments])
                for each in range(number)
            ]
        case "deepspeed":
            return [
                machines.run(each, [*deepspeed, "--no_ssh", "--node_rank", str(each), *arguments])
                for each in range(number)
            ]
        case "pdsh":
            tools = folder / "tools"
            tools.mkdir()
            inside = {name: machines.inside(each) for each, name in enumerate(names)}
            (tools / "inside.json").write_text(json.dumps(inside))
            script = tools / "pdsh"
            script.write_text(PDSH.format(python=sys.executable, inside=str(tools / "inside.json")))
            script.chmod(0o755)
            command = [*deepspeed, "--no_ssh_check", *arguments]
            return [machines.run(0, command, PATH=f"{tools}:{BIN}:{os.environ['PATH']}")]
        case "srun":
            step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(number)}
            step |= {"SLURM_NTASKS": str(number), "SLURM_STEP_NODELIST": ",".join(names), "SLURM_LOCALID": "0"}
            step |= {"SLURM_STEP_TASKS_PER_NODE": f"1(x{number})", "SLURM_STEP_NUM_NODES": str(number)}
            return [
                machines.run(each, [sys.executable, *arguments], **step, SLURM_PROCID=str(each), SLURM_NODEID=str(each))
                for each in range(number)
            ]
    raise AssertionError(launcher)


def arguments(data: Path, output: Path, *settings: str) -> list[str]:
    return [str(ENTRY), "debug", "--data", str(data), "--output", str(output), *SETTINGS, *settings]


@pytest.fixture(scope="module")
def on_one_host(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The run of so many ranks on one host."""
    made: dict[int, Path] = {}

    def run(size: int) -> Path:
        if size not in made:
            made[size] = tmp_path_factory.mktemp("one") / "run"
            ranks = start_run_on_ranks(tiny_dataset, made[size], *SETTINGS, size=size)
            said = [rank.communicate(timeout=300) for rank in ranks]
            assert [rank.returncode for rank in ranks] == [0] * size, said
        return made[size]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "pdsh", "srun"])
def test_hosts_end_with_the_weights_of_one(
    launcher: str, number: int, tiny_dataset: Path, tmp_path: Path, on_one_host: Callable[[int], Path]
) -> None:
    run = tmp_path / "run"
    with machines_on_a_switch(tmp_path, number) as machines:
        commands = start_hosts(machines, launcher, arguments(tiny_dataset, run), tmp_path)
        said = [command.communicate(timeout=300)[0] for command in commands]
    assert [command.returncode for command in commands] == [0] * len(commands), said
    (step,) = checkpoint_steps(run)[-1:]
    assert_equal_ends(run, on_one_host(number), step)


def rank_below(command: "subprocess.Popen[str]") -> psutil.Process:
    """The rank that a launcher's command has started."""
    processes = [psutil.Process(command.pid), *psutil.Process(command.pid).children(recursive=True)]
    return next(each for each in reversed(processes) if str(ENTRY) in each.cmdline())


def end(command: "subprocess.Popen[str]") -> None:
    for process in [*psutil.Process(command.pid).children(recursive=True), command]:
        process.kill()
    command.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "srun"])
@pytest.mark.parametrize("fault", ["cut from rank 0", "cut between two others", "stopped", "killed"])
def test_faults_among_three_hosts_end_all(fault: str, launcher: str, tiny_dataset: Path, tmp_path: Path) -> None:
    settings = ["--run.epochs", "500", "--run.log-every", "1", "--run.checkpoint-every", "1000"]
    with machines_on_a_switch(tmp_path, 3) as machines:
        begin = arguments(tiny_dataset, tmp_path / "run", *settings[2:])
        begin[begin.index("--run.epochs") + 1] = settings[1]
        commands = start_hosts(machines, launcher, begin, tmp_path)
        wait_for(lambda: last_step(tmp_path / "run") >= 2, *commands)
        match fault:
            case "cut from rank 0":
                machines.cut_between(0, 2)
            case "cut between two others":
                machines.cut_between(1, 2)
            case "stopped":
                rank_below(commands[2]).send_signal(signal.SIGSTOP)
            case "killed":
                rank_below(commands[2]).kill()
        others = commands[:2] if fault == "stopped" else commands  # a stopped rank is alone on its host
        seconds, said = ends(others, within=180)
        if fault == "stopped":
            end(commands[2])
    assert max(seconds) < 75
    assert all(command.returncode for command in others)
    errors = [line for text in said for line in text.splitlines() if "error: " in line and "exitcode" not in line]
    assert 1 <= len(errors) <= 2, said  # once on each side of a cut
    what = {"cut between two others": "a link between two machines is cut", "killed": "ended without a word"}
    assert all(what.get(fault, "no sign of life from rank") in line for line in errors), errors
    assert not any(f'File "{ENTRY}"' in text for text in said), said  # torchrun shows tracebacks of its own
