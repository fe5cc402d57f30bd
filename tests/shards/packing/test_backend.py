"""The same dataset from every backend. The Dask cluster is a real one: a scheduler and two workers as processes."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

import shards.packing.plan
from shards.base.errors import InputError
from shards.packing import backend
from shards.packing.backend import parallel_backend
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import write_patterns


@pytest.fixture
def source(tmp_path):
    return write_patterns(tmp_path / "source", {"train": 40, "test": 10})


def build(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 8, "name": "patterns"}
    return build_dataset(BuildConfig(input=folder, output=output, **(defaults | options)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def dask_cluster(tmp_path):
    """Address of a scheduler with two workers, each a process of its own in another folder."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    cli = (
        [sys.executable, "-m", "distributed.cli.dask_scheduler"],
        [sys.executable, "-m", "distributed.cli.dask_worker"],
    )
    scheduler = [*cli[0], "--host", address, "--no-dashboard"]
    worker = [*cli[1], address, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path)]
    with contextlib.ExitStack() as stack:
        for command in (scheduler, worker, worker):
            process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        yield address


def test_a_dask_cluster_of_processes_gives_the_same_bytes(source, tmp_path, dask_cluster):
    from distributed import Client

    build(source, tmp_path / "here", workers=1)
    with Client(dask_cluster, timeout=30) as client:
        client.wait_for_workers(2, timeout=30)
        build(source, tmp_path / "cluster", backend="dask", address=dask_cluster)
        tasks = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "here")
    assert len(tasks) == 2
    assert sum(tasks.values()) == 13, "the shards were packed on the cluster"
    assert min(tasks.values()) >= 1, "by both of its workers"


@pytest.mark.slow
def test_a_build_that_stops_on_a_cluster_says_why(source, tmp_path, dask_cluster, monkeypatch):
    sizes = shards.packing.plan._file_sizes
    monkeypatch.setattr(shards.packing.plan, "_file_sizes", lambda *args: [size + 1 for size in sizes(*args)])
    with pytest.raises(InputError, match="has changed since this build began"):
        build(source, tmp_path / "out", backend="dask", address=dask_cluster)


@pytest.mark.slow
def test_ray_gives_the_same_bytes(source, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    build(source, tmp_path / "here", workers=1)
    build(source, tmp_path / "ray", backend="ray", workers=2)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


@pytest.mark.parametrize("workers", [5, pytest.param(16, marks=pytest.mark.slow)])
def test_many_workers_give_the_same_bytes(source, tmp_path, workers):
    build(source, tmp_path / "one", workers=1)
    build(source, tmp_path / "many", workers=workers)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_more_workers_than_shards_share_a_shard(source, tmp_path):
    build(source, tmp_path / "one", workers=1, shard_images=1000)
    build(source, tmp_path / "four", workers=4, shard_images=1000)
    assert contents(tmp_path / "four") == contents(tmp_path / "one")


def test_backends_that_cannot_be_used(monkeypatch):
    with (
        pytest.raises(InputError, match="loky has no cluster; add --backend dask or --backend ray"),
        parallel_backend("loky", address="tcp://127.0.0.1:1", workers=1),
    ):
        pass
    monkeypatch.setitem(backend._PACKAGES, "dask", "no_such_package")
    with (
        pytest.raises(InputError, match=r"--backend dask: .*pip install 'moco-cxr\[dask\]'"),
        parallel_backend("dask", address=None, workers=1),
    ):
        pass


def test_a_cluster_that_does_not_answer(source, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(backend, "_DASK_SECONDS", 1)
    with pytest.raises(InputError, match="--address tcp://127.0.0.1:1: no Dask scheduler with workers answers there"):
        build(source, tmp_path / "out", backend="dask", address="tcp://127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_loky_takes_the_workers_asked_for():
    with parallel_backend("loky", address=None, workers=3) as workers:
        assert workers == 3
        assert joblib.Parallel().n_jobs == 3
