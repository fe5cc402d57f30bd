"""The notebook of the docs does what it says: its cells run one after another in a process of their own."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_has_ten_cells_and_nothing_of_the_machine_it_was_written_on() -> None:
    assert len(CODE) == 10
    assert not [cell for cell in CELLS if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    script = tmp_path / "tutorial.py"
    script.write_text("\n\n".join([*CODE, "assert scores.num_rows == 16, scores.num_rows", ""]))
    done = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "with tuberculosis" in done.stdout
    assert (tmp_path / "results" / "report.html").is_file()
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert all(0 < float(row["Tuberculosis"]) < 1 for row in rows)
