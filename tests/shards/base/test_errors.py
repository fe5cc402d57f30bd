import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from shards.base.errors import InputError, check_outside_datasets, check_writable, continuing, needing, run_command
from tests.conftest import ROOT


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (3, 3)])
def test_the_status_of_the_command(result, status):
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: result)
    assert caught.value.code == status


def test_a_users_mistake_is_one_line(capsys):
    def command():
        raise InputError("--size 3: must be at least 8 pixels")

    with pytest.raises(SystemExit) as caught:
        run_command(command)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: --size 3: must be at least 8 pixels\n"


def test_a_warning_is_one_line_once(capsys):
    def command():
        for _ in range(2):
            warnings.warn("views enlarge images", stacklevel=1)
            warnings.warn("views enlarge images", stacklevel=2)

    with pytest.raises(SystemExit):
        run_command(command)
    assert capsys.readouterr().err == "warning: views enlarge images\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match="a bug"):
        run_command(lambda: int("a bug"))


def test_a_reader_that_has_gone_is_no_error():
    code = (
        "from shards.base.errors import run_command; "
        "run_command(lambda: [print('x' * 1000) for _ in range(1000)] and 0)"
    )
    done = subprocess.run(
        f'"{sys.executable}" -c "{code}" | head -1; echo ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"])
@pytest.mark.parametrize("status", [0, 2])
def test_streams_that_are_closed_or_full(closing: str, status: int, tmp_path: Path) -> None:
    """What a command opens is never taken for them, and its status is what it is."""
    body = f"""
import sys
from pathlib import Path
from shards.base.errors import InputError, run_command

def main():
    with Path({str(tmp_path / "a")!r}).open("w") as file:
        print("out")
        print("err", file=sys.stderr)
        file.write("written")
    if {status}:
        raise InputError("wrong")

run_command(main)
"""
    done = subprocess.run(["sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, "-c", body], cwd=ROOT, check=False)
    assert done.returncode == (2 if "full" in closing else status)
    assert (tmp_path / "a").read_text() in ("written", "" if "full" in closing else "written")


def test_a_package_of_an_extra_is_named_with_the_extra():
    said = r"^report: needs no_such_package, which is not installed; pip install 'moco-cxr\[r\]'$"
    with pytest.raises(InputError, match=said), needing("r", "report"):
        import no_such_package  # noqa: F401


def interrupted_import() -> None:
    """As a module in C that is being imported: of an interrupt it makes an error of its own."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed") from None


def interrupted() -> None:
    with continuing():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("main", "line"),
    [
        (lambda: signal.raise_signal(signal.SIGINT), "interrupted\n"),
        (interrupted_import, "interrupted\n"),
        (interrupted, "interrupted; repeat the command to go on\n"),
    ],
    ids=["at work", "while importing", "what goes on"],
)
def test_an_interrupt_is_one_line(main, line, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert caught.value.code == 130
    assert capsys.readouterr().err == line
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_output_that_cannot_be_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    check_writable(tmp_path / "new" / "deep")
    check_writable(tmp_path / "file")  # to be replaced
    for output in (tmp_path / "file" / "x", Path("/dev/null/x/y")):
        with pytest.raises(InputError, match=f"--output {output}: .* cannot be written .Not a directory"):
            check_writable(output)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and real(path, mode))
    for output in (tmp_path / "closed", tmp_path / "closed" / "x" / "y"):
        with pytest.raises(InputError, match=f"--output {output}: .*cannot be written .Permission denied"):
            check_writable(output)


def test_an_output_inside_a_dataset_is_refused_and_one_in_its_place_unless_it_is_to_be(tmp_path, monkeypatch):
    data = tmp_path / "data" / "hospital"
    data.mkdir(parents=True)
    (data / "dataset.json").write_text("{}")
    (tmp_path / "link").symlink_to(data)
    for output in (data / "run", data / "new" / "deep.csv", tmp_path / "link" / "run"):
        with pytest.raises(InputError, match=f"--output {output}: lies in the packed dataset .*; give a folder outsi"):
            check_writable(output)
        with pytest.raises(InputError, match="lies in the packed dataset"):
            check_writable(output, may_be_dataset=True)
    for output in (data, tmp_path / "link"):
        with pytest.raises(InputError, match=f"--output {output}: is a packed dataset; give a folder outside it"):
            check_writable(output)
        check_outside_datasets(output, may_be_dataset=True)
    monkeypatch.chdir(data)
    with pytest.raises(InputError, match=f"--output run: lies in the packed dataset {data}; give a folder outside it"):
        check_writable(Path("run"))
    check_writable(tmp_path / "data" / "other")
