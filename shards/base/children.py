"""Processes that this one starts end with it, also when it is killed: else they would keep their memory for ever."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context

import joblib

_POLL_SECONDS = 0.5


@contextlib.contextmanager
def local_workers(num_workers: int) -> Iterator[None]:
    """Has ``joblib.Parallel`` run in a block of code what it is given in so many processes of this machine (-1: one a
    core), which end with this one.

    Raises:
        OSError: the shared memory has no room for their semaphores. joblib would go on in this process, in threads.
    """
    if num_workers != 1:
        get_context("fork").Lock()  # such a semaphore; it is gone again at once
    with joblib.parallel_config(
        backend="loky", n_jobs=num_workers, initializer=end_with_parent, initargs=(os.getpid(),)
    ):
        yield


def end_with_parent(parent: int) -> None:
    """Ends this process soon after the one that has started it, of process number ``parent``, is gone; called as the
    first thing that it does."""
    threading.Thread(target=_watch, args=(parent,), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
