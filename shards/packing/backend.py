"""Where the work runs: processes of this machine (loky), or a Dask or Ray cluster on shared storage, through joblib."""

import contextlib
import importlib
import logging
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor

import joblib

from shards.base.children import local_workers
from shards.base.errors import InputError
from shards.packing.config import Backend
from shards.sandbox.sandbox import Killed

_PACKAGES = {"dask": "distributed", "ray": "ray.util.joblib"}
_DASK_SECONDS = 30


@contextlib.contextmanager
def parallel_backend(backend: Backend, *, address: str | None, workers: int) -> Iterator[int]:
    """Makes ``backend`` joblib's for a block of code and yields the number of tasks that run at a time.

    ``address`` is that of a running Dask scheduler or Ray cluster; without one, such a cluster is started on this
    machine with ``workers`` processes (-1: all cores) and ended with the block. A cluster that was running decides the
    number of workers by itself.

    Raises:
        InputError: an address for loky, a package that is not installed, a cluster that cannot be reached.
        Killed: a worker was killed.
    """
    if backend == "loky":
        if address is not None:
            raise InputError(f"--address {address}: loky has no cluster; add --backend dask or --backend ray")
        with _told_of_kills(BrokenExecutor), local_workers(workers):
            yield joblib.effective_n_jobs(workers)
        return
    try:
        importlib.import_module(_PACKAGES[backend])
    except ImportError as error:
        raise InputError(f"--backend {backend}: {error}; install it with: pip install 'moco-cxr[{backend}]'") from None
    num_local = joblib.cpu_count() if workers == -1 else workers
    start = _dask if backend == "dask" else _ray
    with start(address, num_local) as num_workers, joblib.parallel_config(backend=backend, n_jobs=num_workers):
        yield num_workers


@contextlib.contextmanager
def _told_of_kills(*kinds: type[Exception]) -> Iterator[None]:
    """Around what raises one of ``kinds`` where a worker is killed."""
    try:
        yield
    except kinds as error:
        raise Killed from error


@contextlib.contextmanager
def _dask(address: str | None, num_local: int) -> Iterator[int]:
    from distributed import Client, KilledWorker, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it logs tracebacks when a failed build closes it
    with contextlib.ExitStack() as stack:
        if address is None:
            cluster = LocalCluster(n_workers=num_local, threads_per_worker=1, dashboard_address=None)
            target = stack.enter_context(cluster).scheduler_address
        else:
            target = address
        try:
            client = stack.enter_context(Client(target, timeout=_DASK_SECONDS))
            client.wait_for_workers(1, timeout=_DASK_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(f"--address {target}: no Dask scheduler with workers answers there ({error})") from None
        with _told_of_kills(KilledWorker):
            yield sum(client.ncores().values())


@contextlib.contextmanager
def _ray(address: str | None, num_local: int) -> Iterator[int]:
    import ray
    from ray.util.joblib import register_ray

    try:
        if address is None:
            ray.init(num_cpus=num_local, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from None
    try:
        register_ray()
        logging.getLogger("ray.util").setLevel(logging.ERROR)  # it warns of an argument that joblib gives it
        with _told_of_kills(ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
            yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()
