import multiprocessing
import os
import subprocess
import sys
import time

from benchmarks.measuring.resources import MemoryPeak, cpu_seconds, descendants, held_megabytes

_MEGABYTE = 2**20


def _burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_of_this_process_counts_and_sleep_does_not():
    before = cpu_seconds()
    time.sleep(0.2)
    slept = cpu_seconds() - before
    _burn(0.2)
    assert slept < 0.1
    assert 0.2 <= cpu_seconds() - before - slept < 0.4


def test_processor_time_of_a_child_counts_while_it_runs_and_once_when_it_has_ended():
    before = cpu_seconds()
    context = multiprocessing.get_context("fork")
    is_done, may_end = context.Event(), context.Event()

    def work():
        _burn(0.3)
        is_done.set()
        may_end.wait()

    child = context.Process(target=work)
    child.start()
    is_done.wait()
    while_running = cpu_seconds() - before
    assert child.pid in descendants(os.getpid())
    may_end.set()
    child.join()
    assert 0.28 <= while_running < 0.6
    assert abs(cpu_seconds() - before - while_running) < 0.2  # counted twice it would be 0.3


def test_memory_of_a_process_and_its_child_and_its_peak():
    program = f"""
import os, sys
held = bytearray(os.urandom(30 * {_MEGABYTE}))
if os.fork() == 0:
    more = bytearray(os.urandom(20 * {_MEGABYTE}))
    print("ready", flush=True)
    sys.stdin.readline()
    del more
    os._exit(0)
os.wait()
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        peak = MemoryPeak(child.pid, interval=0.005)
        peak.start()
        assert child.stdout.readline() == "ready\n"
        held = held_megabytes(child.pid)
        time.sleep(0.1)
        highest = peak.stop()
    finally:
        child.communicate("end\n")
    assert 50 <= held < 80, "shared pages count once"
    assert held <= highest + 1
    assert held_megabytes(child.pid) == 0
