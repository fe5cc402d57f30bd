"""Every command that the demo runs is shown, and what is shown does the same when it is typed."""

import os
import re
import stat
import subprocess
from pathlib import Path

from tests.conftest import ROOT

# Stands for moco-cxr: notes its arguments, one a line, and makes what the demo looks for.
_COMMAND = """#!/bin/sh
{ printf '%s\\n' "$@"; echo; } >> "$NOTES"
"""


def notes(folder: Path, command: list[str]) -> list[str]:
    """The arguments of each call of moco-cxr, and what was printed, last."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "moco-cxr"
    program.write_text(_COMMAND)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    place = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "NOTES": str(folder / "notes")}
    done = subprocess.run(command, cwd=ROOT, env=place, capture_output=True, text=True, check=True)
    return [*(folder / "notes").read_text().split("\n\n")[:-1], done.stdout]


def test_what_is_shown_is_what_runs(tmp_path: Path) -> None:
    *run, printed = notes(tmp_path / "first", ["bash", "demo.sh", str(tmp_path / "a folder's")])
    shown = re.findall(r"^\[ *\d+ s\] \$ (.*)$", printed, flags=re.MULTILINE)
    assert len(run) == 7
    assert sum(line.startswith("moco-cxr ") for line in shown) == len(run)
    typed = notes(tmp_path / "second", ["bash", "-ec", "\n".join(shown)])[:-1]
    assert typed == run
    assert "Pleural Effusion" in run[4].splitlines(), "one word, though it has a blank"
