import subprocess
import sys

import pytest

from shards.base.errors import InputError, run_command


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
