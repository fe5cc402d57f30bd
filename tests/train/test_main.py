"""The command line: what it writes and prints, and one line with exit code 2 for a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.views import ViewSpec
from shards.base.errors import InputError
from tests.train.encoders.test_checkpoint import write
from train.__main__ import main
from train.encoders.build import build_encoder
from train.encoders.file import FILES
from train.encoders.saved import save_encoder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run that left the key encoder too."""
    (tmp_path / "run").mkdir()
    for seed, file in enumerate(FILES.values()):
        save_encoder(tmp_path / "run" / file, build_encoder("resnet18", seed=seed), name="resnet18", views=ViewSpec())
    return tmp_path / "run"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    main()


def test_export_writes_the_encoder_that_was_asked_for(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--run", run_folder, "--format", "timm", "--output", tmp_path / "out.pth"]
    for seed, which in enumerate(([], ["--which", "key"])):
        call(monkeypatch, *arguments, *which)
        expected = build_encoder("resnet18", seed=seed).get_parameter("layer4.0.conv1.weight")
        assert torch.equal(torch.load(tmp_path / "out.pth")["layer4.0.conv1.weight"], expected)
    printed = capsys.readouterr().out
    assert f"written: {tmp_path / 'out.pth'} (44.8 MB); load it with\nmodel = timm.create_model(" in printed
    assert f'checkpoint_path="{tmp_path / "out.pth"}")' in printed


def test_export_takes_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's own are in ``tests/train/test_pretrain.py``."""
    step = tmp_path / "checkpoints" / "step-00000006"
    expected = write(step, build_encoder("resnet18", seed=5))
    for number, which in enumerate(([], ["--which", "key"]), start=1):
        call(monkeypatch, "export", "--run", step, "--format", "timm", "--output", tmp_path / "out.pth", *which)
        assert torch.equal(torch.load(tmp_path / "out.pth")["conv1.weight"], number * expected["conv1.weight"])
    for output in (step / "state.pt", step / "timm.pth"):
        with pytest.raises(InputError, match="is the run's own encoder or checkpoint"):
            call(monkeypatch, "export", "--run", step, "--format", "timm", "--output", output)


def test_a_missing_key_encoder_names_the_remedy(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["export", "--format", "timm", "--output", tmp_path / "out.pth", "--which", "key", "--run"]
    with pytest.raises(InputError, match="is one encoder alone; give the run folder"):
        call(monkeypatch, *arguments, run_folder / FILES["query"])
    (run_folder / FILES["key"]).unlink()
    with pytest.raises(InputError, match="the run's command with --run.export_key writes it"):
        call(monkeypatch, *arguments, run_folder)
    assert not (tmp_path / "out.pth").exists()


def test_a_runs_own_encoders_are_not_written_over(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.safetensors").symlink_to(run_folder / FILES["query"])
    before = (run_folder / FILES["query"]).read_bytes()
    for source in (run_folder, run_folder / FILES["query"]):
        for output in (run_folder / FILES["query"], tmp_path / "link.safetensors", run_folder / "." / FILES["query"]):
            with pytest.raises(InputError, match="is the run's own encoder"):
                call(monkeypatch, "export", "--run", source, "--format", "timm", "--output", output)
    with pytest.raises(InputError, match="is the run's own encoder"):
        call(monkeypatch, "export", "--run", run_folder, "--format", "timm", "--output", run_folder / FILES["key"])
    assert (run_folder / FILES["query"]).read_bytes() == before


def test_a_mistake_gives_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", "export", "--run", str(tmp_path / "none"), "--format", "timm"]
    done = subprocess.run([*command, "--output", "out.pth"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (told,) = done.stderr.splitlines()
    assert told == f"error: --run {tmp_path / 'none'}: no such file or run folder; check the path."
