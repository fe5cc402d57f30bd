"""The command line: what it writes and prints, and one line with exit code 2 for a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from eval.__main__ import default_output, main
from eval.results import ProbeResult, load_result, save_result
from shards.errors import InputError


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", *map(str, arguments)])
    main()


def test_linear_writes_a_result_and_prints_its_table(
    packed: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["linear", "--run", run_folder, "--data", packed, "--label", "sick", "well", "--fraction", 0.1, 1]
    call(monkeypatch, *arguments, "--draws", 2, "--replicates", 100, "--device", "cpu")
    printed = capsys.readouterr().out
    for name in ("sick", "well"):
        path = run_folder / "eval" / f"linear-patches-{name}.json"
        assert f"written: {path}" in printed
        result = load_result(path)
        assert result.label == name
        assert result.command.startswith("python -m eval linear --run ")
        assert f"patches, {name}: AUROC" in printed

    call(monkeypatch, "table", run_folder / "eval" / "linear-patches-sick.json", "--format", "markdown")
    assert "| 100 % | 120 (40) |" in capsys.readouterr().out


def test_output_names_the_file(packed: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["linear", "--run", run_folder / "encoder.safetensors", "--data", packed, "--label", "sick"]
    call(monkeypatch, *arguments, "--fraction", 1, "--replicates", 100, "--output", tmp_path / "mine.json")
    assert load_result(tmp_path / "mine.json").fractions[0].fraction == 1.0


def test_default_output_is_free_of_awkward_signs(result: ProbeResult, tmp_path: Path) -> None:
    assert default_output(tmp_path, result) == tmp_path / "eval" / "linear-made-finding.json"
    assert default_output(tmp_path / "encoder.safetensors", result).parent == tmp_path / "eval"


def test_a_mistake_gives_one_line_and_exit_code_2(result: ProbeResult, tmp_path: Path) -> None:
    save_result(result, tmp_path / "a.json")
    command = [sys.executable, "-m", "eval", "table", str(tmp_path / "a.json"), str(tmp_path / "absent.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: result {tmp_path / 'absent.json'}: no such file; write one with: python -m eval linear"
    ]


def test_no_file_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no file given"):
        call(monkeypatch, "table")
