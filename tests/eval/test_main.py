"""The command line: what it writes and prints, and one line with exit code 2 for a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from eval.__main__ import main
from eval.results.file import load_comparison, save_comparison
from eval.results.table import Comparison
from shards.base.errors import InputError


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", *map(str, arguments)])
    main()


def test_linear_writes_a_result_and_prints_its_table(
    packed: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shared = ["--data", packed, "--label", "sick", "--replicates", 100, "--random-starts", 1, "--device", "cpu"]
    call(monkeypatch, "linear", "--run", run_folder, *shared, "--fraction", 0.2, 1, "--draws", 2)
    folder = run_folder / "eval" / "linear-patches-sick"
    printed = capsys.readouterr().out
    assert f"written: {folder}; as a page: moco-cxr eval report {folder}" in printed
    assert "patches, sick: AUROC of the linear probe on 60 test studies" in printed
    assert load_comparison(folder).command.startswith("moco-cxr eval linear --run ")

    call(monkeypatch, "table", folder, "--format", "markdown")
    assert "| 100 % | 108 (" in capsys.readouterr().out

    call(monkeypatch, "knn", "--run", run_folder, *shared, "--fraction", 1, "--neighbours", 5, "--against")
    (row,) = load_comparison(run_folder / "eval" / "knn-patches-sick").rows
    assert (row.start, row.draws[0].details["cells"][0]["num_neighbours"]) == ("pretrained", 5)

    call(monkeypatch, "few-shot", "--run", run_folder, *shared, "--shots", 2, "--draws", 1)
    assert load_comparison(run_folder / "eval" / "few-shot-patches-sick").rows[0].fraction == 2


def test_a_grid_file(packed: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(
        f"data: {packed}\nlabel: sick\nstarts: {{a: {run_folder}}}\nreadout: knn\nfraction: 1\nreplicates: 100\n"
    )
    call(monkeypatch, "grid", file)
    assert load_comparison(tmp_path / "grid").starts["a"].sources == [str(run_folder)]


def test_draws(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "draws.parquet"
    call(monkeypatch, "draws", "export", "--data", packed, "--label", "sick", "--fraction", 0.5, "--output", path)
    assert path.is_file()


def test_tables_in_other_formats(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    save_comparison(comparison, tmp_path)
    call(monkeypatch, "table", tmp_path, "--metric", "ece")
    assert "calibration error (ECE)" in capsys.readouterr().out
    call(monkeypatch, "table", tmp_path / "results.json", "--format", "latex")
    assert r"\begin{tabular}" in capsys.readouterr().out


def test_a_mistake_gives_one_line_and_exit_code_2(comparison: Comparison, tmp_path: Path) -> None:
    save_comparison(comparison, tmp_path)
    command = [sys.executable, "-m", "eval", "table", str(tmp_path), str(tmp_path / "absent.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: result {tmp_path / 'absent.json'}: no such file; give a file that `python -m eval` wrote"
    ]


def test_no_file_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no file given"):
        call(monkeypatch, "table")


def test_layers_of_the_encoder(
    packed: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shared = ["--data", packed, "--label", "sick", "--replicates", 100, "--random-starts", 1, "--device", "cpu"]
    asked = ["--run", run_folder, *shared, "--fraction", 1, "--output", tmp_path / "layers", "--features.layers"]
    call(monkeypatch, "linear", *asked, 3, 4)
    printed = " ".join(capsys.readouterr().out.split())
    assert "AUROC of the linear probe on layers 3, 4 on 60 test studies" in printed
    assert "joined; of the last, its own features: random layer3, layer4; pretrained layer3, layer4." in printed
    with pytest.raises(InputError, match="features.layers 9: resnet18 has the layers 1 layer1, "):
        call(monkeypatch, "linear", *asked, 9)
    file = tmp_path / "grid.yaml"
    file.write_text(f"data: {packed}\nlabel: sick\nstarts: {{a: {run_folder}}}\nreadout: knn\nlayers: 3\nfraction: 1\n")
    call(monkeypatch, "grid", file)
    assert load_comparison(tmp_path / "grid").starts["a"].layers == ["layer3"]
    file.write_text(f"data: {packed}\nlabel: sick\nstarts: {{a: {run_folder}}}\nreadout: finetune\nlayers: 3\n")
    with pytest.raises(InputError, match="layers 3: no readout of frozen features"):
        call(monkeypatch, "grid", file)
