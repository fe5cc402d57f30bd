"""The prepared run: every part a process of its own with its own limit, in order of worth, resumable.

    python -m benchmarks gpu --minutes 10 --output hour
    python -m benchmarks gpu --device cpu --minutes 60 --output trial     # the whole of it without a GPU

OUTPUT gets a result file a part as it is measured, ``logs/PART.txt``, ``state.json``, which says how each part ended,
and ``summary.md``: targets beside what was measured. Results that are to stay go to ``benchmarks/results``.
"""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.gpu.commands import command_of
from benchmarks.gpu.parts import CPU_PATIENCE, PARTS, Part, result_path
from benchmarks.gpu.settings import GpuConfig
from benchmarks.gpu.targets import sentences, table
from benchmarks.measuring.result import read_result
from benchmarks.reporting.console import text_table
from eval.report.terminal import wrapped
from shards.base.atomic import atomic_write
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import read_json

_ROOT = Path(__file__).parents[2]
_MARK = "BENCHMARK_PART"  # a variable that a part's processes have in common, also those that outlive it
_LEAST = 10.0  # seconds, under which no part is begun
_GRACE = 5.0  # seconds between asking a part to end and ending it
_TAIL = 12  # lines of a part's log that are shown


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a part ended: done, failed, stopped (by its limit), or left (no time)."""

    how: str
    seconds: float = 0.0
    status: int | None = None


def run_all(config: GpuConfig) -> int:
    """Runs what is missing, prints the targets beside what was measured, and returns 1 where a part failed.

    Raises:
        InputError: the folder is of a run on another device.
    """
    folder = config.output.resolve()
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    endings = _read_state(folder, config.device)
    begin = time.monotonic()
    chosen = [part for part in PARTS if part.name in config.only or (not config.only and _is_missing(part, endings))]
    if config.data is not None:
        chosen = [part for part in chosen if part.name != "data"]
    for part in PARTS:
        if part not in chosen and part.name in endings:
            print(f"{part.name}: {endings[part.name].how} before", flush=True)
    for part in chosen:
        left = 60 * config.minutes - (time.monotonic() - begin)
        if left < _LEAST:
            endings[part.name] = Ending(how="left")
            print(f"{part.name}: left for the next time, {max(0, left):.0f} s remain", flush=True)
        else:
            limit = min(left, part.seconds * (CPU_PATIENCE if config.device == "cpu" else 1))
            endings[part.name] = _run_part(part, config, folder, limit)
        state = {"device": config.device, "parts": {name: asdict(ending) for name, ending in endings.items()}}
        atomic_write(folder / "state.json", json.dumps(state, indent=2) + "\n")
        atomic_write(folder / "summary.md", table(folder, config.device))
        if config.archive is not None:
            _pack(folder, config.archive)
    print(f"\n{sentences(folder, config.device)}\n\nresults, logs and summary.md: {config.output}")
    wrong = [f"{name} {ending.how}" for name, ending in endings.items() if ending.how in ("failed", "stopped")]
    if wrong:
        print(f"{', '.join(wrong)}; the same command tries them again", file=sys.stderr)
    return 1 if wrong else 0


def _is_missing(part: Part, endings: dict[str, Ending]) -> bool:
    return part.name not in endings or endings[part.name].how != "done"


def _read_state(folder: Path, device: str) -> dict[str, Ending]:
    path = folder / "state.json"
    if not path.exists():
        return {}
    try:
        state = read_json(path)
        endings = {name: from_written(Ending, value) for name, value in state["parts"].items()}
    except (InputError, KeyError, TypeError, AttributeError):
        raise InputError(f"--output {folder}: state.json cannot be read; remove it, or give another folder") from None
    if state["device"] != device:
        raise InputError(f"--output {folder}: holds a run on {state['device']}; give another folder for {device}")
    return endings


def _run_part(part: Part, config: GpuConfig, folder: Path, limit: float) -> Ending:
    mark = f"{part.name}-{uuid.uuid4().hex}"
    environment = os.environ | {_MARK: mark, "PYTHONUNBUFFERED": "1"}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if config.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = command_of(part.name, config, folder)
    result_path(folder, part.name, config.device).unlink(missing_ok=True)  # of an earlier try
    log = folder / "logs" / f"{part.name}.txt"
    print(wrapped(f"{part.name}: {part.about} (at most {limit:.0f} s)", later="  "), flush=True)
    begin = time.monotonic()
    with log.open("w") as file:
        file.write(f"{' '.join(command)}\n")
        file.flush()
        with subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT) as process:
            try:
                status, how = process.wait(limit), "done"
            except subprocess.TimeoutExpired:
                status, how = _end(process), "stopped"
            finally:
                process.kill()
                _end_others(mark)
    if how == "done" and status:
        how = "failed"
    seconds = time.monotonic() - begin
    for line in _shown(result_path(folder, part.name, config.device), log, is_done=how == "done"):
        print(line)
    more = f", exit code {status}; all of it: {log}" if how != "done" else ""
    print(wrapped(f"{how} after {seconds:.0f} s{more}", first="  ", later="    "), flush=True)
    return Ending(how=how, seconds=round(seconds, 1), status=status)


def _shown(result: Path, log: Path, *, is_done: bool) -> Iterator[str]:
    """What was measured; the end of the log too, where that may be not all."""
    if result.exists():
        found = read_result(result)
        yield from (wrapped(remark, first="  ", later="    ") for remark in found.remarks)
        yield from map(text_table, found.comparisons)
    if not is_done or not result.exists():
        yield from (
            wrapped(line[:200], first="  ", later="    ")
            for line in log.read_text(errors="replace").splitlines()[1:][-_TAIL:]
        )


def _end(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _end_others(mark: str) -> None:
    """Ends what the part has started and left behind, such as ranks of a launcher, which would keep the GPU."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark:
                process.kill()
        except psutil.Error:  # it has ended, or is another user's
            continue


def _pack(folder: Path, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    beside = archive.with_name(f"{archive.name}.new")
    with tarfile.open(beside, "w:gz") as tar:
        for name in ("state.json", "summary.md", "logs", *(path.name for path in sorted(folder.glob("*-*.json*")))):
            tar.add(folder / name, arcname=f"{folder.name}/{name}")
    beside.replace(archive)
