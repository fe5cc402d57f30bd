"""Whether a main thread stands still inside a collective, seen in a process of its own."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROBE = """
import os, threading, time
from train.ranks import stillness

stillness._bytes_moved = lambda: int({bytes_a_second} * time.monotonic())
found = stillness.Stillness(most=9.0)

def look():
    time.sleep(0.3)
    found.look()
    time.sleep(0.6)
    print(found.look(), flush=True)
    os._exit(0)

threading.Thread(target=look).start()
body = compile({body!r}, {file!r}, "exec")
exec(body)
"""
COLLECTIVE = "/opt/torch/distributed/distributed_c10d.py"


@pytest.mark.parametrize(
    ("body", "file", "bytes_a_second", "low", "high"),
    [
        ("time.sleep(9)", COLLECTIVE, 0, 0.5, 2.0),
        ("time.sleep(9)", COLLECTIVE, 10_000_000, 0.1, 0.5),
        ("time.sleep(9)", "/opt/torch/serialization.py", 0, 0.0, 0.0),
        ("while True: sum(range(1000))", COLLECTIVE, 0, 0.0, 0.0),
    ],
    ids=["waits", "receives", "writes", "works"],
)
def test_standing_still(body: str, file: str, bytes_a_second: int, low: float, high: float) -> None:
    script = PROBE.format(body=body, file=file, bytes_a_second=bytes_a_second)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert low <= float(done.stdout) <= high
