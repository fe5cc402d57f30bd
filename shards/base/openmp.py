"""How OpenMP's threads wait for each other, which torch's and scikit-learn's computations on CPUs run on."""

import os

_SPINS = 10_000


def spin_briefly() -> None:
    """Has threads that wait for others ask for their work 10,000 times and sleep then, unless ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT`` says otherwise. For this process, if no such library is loaded yet, and those that it starts.

    GNU's OpenMP, which torch brings for Linux, asks 300,000 times by itself. Beside other work that is time taken from
    the very thread that is waited for: ``python -m benchmarks waiting`` says how much.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
