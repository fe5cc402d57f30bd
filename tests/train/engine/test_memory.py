"""Freed memory is kept, and only where it is asked to be."""

import subprocess
import sys
from platform import libc_ver

import pytest

_SCRIPT = """
import resource, sys
import numpy as np
from train.engine.memory import keep_freed_memory
if sys.argv[1:]:
    keep_freed_memory()
faults = []
for _ in range(5):
    np.ones(64 << 20, np.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""


def _faults(*arguments: str) -> int:
    ran = subprocess.run([sys.executable, "-c", _SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="of glibc only")
def test_pages_of_a_freed_array_are_those_of_the_next() -> None:
    pages = 4 * (64 << 20) // 4096
    assert _faults() > pages // 1000  # NumPy asks for huge pages where there are any
    assert _faults("keep") < 50
