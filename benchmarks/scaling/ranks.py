"""Processes of the scaling benchmark: as many ranks as asked, which wait without using a core until they are told."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import TCPStore

_PATIENCE = 600.0  # seconds for one answer: importing, compiling kernels and many steps on a busy machine


class Ranks:
    """``num_ranks`` processes of :mod:`benchmarks.scaling.child`, joined to one group."""

    def __init__(self, processes: list[subprocess.Popen[str]], errors: Any) -> None:
        self._processes, self._errors = processes, errors

    def tell(self, what: str, number: int) -> list[Any]:
        """Has all ranks do the same at once, and returns what each gives, in rank order.

        Raises:
            RuntimeError: one of them failed, or none of them answers any more.
        """
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(f"{what} {number}\n")
                process.stdin.flush()
            except BrokenPipeError:
                raise self._failure(what) from None
        answers: dict[int, Any] = {}
        with selectors.DefaultSelector() as waiting:
            for rank, process in enumerate(self._processes):
                assert process.stdout is not None
                waiting.register(process.stdout, selectors.EVENT_READ, rank)
            while len(answers) < len(self._processes):
                ready = waiting.select(_PATIENCE)
                for key, _ in ready:
                    line = key.fileobj.readline()  # type: ignore[union-attr]
                    if not line:
                        raise self._failure(what)
                    answers[key.data] = json.loads(line)
                    waiting.unregister(key.fileobj)
                if not ready:
                    raise self._failure(what)
        return [answers[rank] for rank in range(len(self._processes))]

    def _failure(self, what: str) -> RuntimeError:
        for process in self._processes:
            process.kill()
            process.wait()
        self._errors.seek(0)
        return RuntimeError(f"{len(self._processes)} rank(s) failed at {what!r}: {self._errors.read()[-2000:]}")


@contextmanager
def start_ranks(num_ranks: int, setting: Mapping[str, Any], *, device: str) -> Iterator[Ranks]:
    """Starts the ranks on this machine, and ends them with the context. Returns before they have imported anything.

    Args:
        setting: of :class:`benchmarks.scaling.child.Rank`.
        device: cpu or cuda, one GPU a rank.
    """
    # The port is the parent's from the start, so nobody else can take it before the ranks have met there.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = os.environ | {
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": str(setting["threads"]),
    }
    if device == "cpu":
        common["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "benchmarks.scaling.child", json.dumps(dict(setting))]
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile("w+"))
        processes = []
        for rank in range(num_ranks):
            process = subprocess.Popen(
                command,
                env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            processes.append(process)
            stack.callback(_end, process)
        yield Ranks(processes, errors)
        # All at once: they leave the group together, which closes only when each has come.
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Waits for a rank whose input has ended, and kills one that does not end."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdin.closed:
            process.kill()  # after an error: another rank may be waiting for this one for ever
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        process.stdout.close()
        process.stdin.close()
