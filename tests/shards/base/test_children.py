"""No worker outlives the process that has started it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOKY = """
import os, signal, sys, time
import joblib
from shards.base.children import local_workers

def work():
    os.write(1, b"%d\\n" % os.getpid())  # one write: print makes two where Python is unbuffered
    time.sleep(60)

with local_workers(2):
    joblib.Parallel()(joblib.delayed(work)() for _ in range(2))
"""
POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from shards.base.children import end_with_parent

def work():
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    with ProcessPoolExecutor(
        2, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
    ) as pool:
        for done in [pool.submit(work) for _ in range(2)]:
            done.result()
"""


@pytest.mark.parametrize("script", [LOKY, POOL], ids=["loky", "spawned"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_what_has_started_them(tmp_path: Path, script: str, number: int) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    with subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(number)
        deadline = time.monotonic() + 20
        while any(is_alive(worker) for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert not any(is_alive(worker) for worker in workers)


def is_alive(number: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
