import functools
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import train.run.writer
from shards.base.errors import InputError
from shards.base.locks import Lock
from tests.train.runs import finish, last_step, start, start_run_on_ranks, wait_for
from train.run.writer import Writer

OF_ANOTHER_MACHINE = '{"host": "elsewhere", "boot": "b", "pid": 7}'


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.run.writer, "Lock", functools.partial(Lock, beat=0.1, lease=0.3))
    monkeypatch.setattr(train.run.writer, "pause", lambda: threading.Event().wait(0.02))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with Writer(folder).hold():
        here = f"--output {folder}: process {os.getpid()} of {socket.gethostname()} is writing this run; "
        with pytest.raises(InputError, match=f"^{re.escape(here)}"), Writer(folder).hold():
            pytest.fail("held twice")
    assert list(folder.iterdir()) == []
    with Writer(folder).hold():
        pass


def test_it_is_free_behind_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Writer(tmp_path).hold():
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def beating_elsewhere(tmp_path: Path) -> Iterator[Path]:
    path, stop = tmp_path / "run.lock", threading.Event()
    path.write_text(OF_ANOTHER_MACHINE)

    def beat() -> None:
        while not stop.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    yield tmp_path
    stop.set()
    thread.join()


def test_a_run_on_another_machine_is_named(beating_elsewhere: Path) -> None:
    with pytest.raises(InputError, match="process 7 of elsewhere is writing"), Writer(beating_elsewhere).hold():
        pytest.fail("held twice")


def test_a_machine_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text(OF_ANOTHER_MACHINE)
    with Writer(tmp_path).hold():
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_a_writer_learns_that_it_was_taken_for_dead(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    with writer.hold():
        writer.check()
        (tmp_path / "run.lock").write_text(OF_ANOTHER_MACHINE)
        with pytest.raises(InputError, match="process 7 of elsewhere has taken this run over"):
            writer.check()
        (tmp_path / "run.lock").unlink()  # it has ended since
        with pytest.raises(InputError, match=r"another has taken this run over and ended, or run\.lock was removed"):
            writer.check()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--output .*: cannot be written"), Writer(tmp_path / "file" / "run").hold():
        pytest.fail("held")


@pytest.mark.slow
def test_a_second_run_is_refused_and_a_killed_one_continued(tiny_dataset: Path, tmp_path: Path) -> None:
    settings, run = ["--run.epochs", "200", "--run.checkpoint-every", "3", "--run.log-every", "1"], tmp_path / "run"
    first = start(tiny_dataset, run, *settings)
    wait_for(lambda: last_step(run) >= 4, first)
    said = f"error: --output {run}: process {first.pid} of {socket.gethostname()} is writing this run"
    refused = start(tiny_dataset, run, *settings)
    assert said in refused.communicate(timeout=120)[1]
    assert refused.returncode == 2
    ranks = start_run_on_ranks(tiny_dataset, run, *settings)
    assert "".join(rank.communicate(timeout=120)[1] for rank in ranks).count(said) == 1
    assert [rank.returncode for rank in ranks] == [2, 2]
    first.kill()
    first.communicate()
    assert (run / "run.lock").exists()
    done = last_step(run)
    third = start(tiny_dataset, run, *settings)
    wait_for(lambda: last_step(run) > done, third)
    third.send_signal(signal.SIGTERM)
    finish(third)
    assert not (run / "run.lock").exists()


def test_a_new_folder_of_a_run_that_was_refused_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="too large"), Writer(folder).hold():
        raise InputError("too large")
    assert not folder.exists()
    with Writer(folder).hold():
        (folder / "config.yaml").touch()
    assert folder.exists()
    (folder / "config.yaml").unlink()
    with Writer(folder).hold():
        pass
    assert folder.exists(), "it was there before"
