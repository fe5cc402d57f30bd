"""A dry run finds what a run would find, and leaves nothing."""

import re
from pathlib import Path

import pytest
from PIL import Image

import train.pretrain
from shards.base.errors import InputError
from train.ranks.world import describe_world
from train.run.writer import Writer
from train.settings.command import parse_command


@pytest.fixture
def rehearse(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a dry run of the debug recipe in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, num_processes: int = 1) -> None:
        arguments = ["debug", "--data", str(tiny_dataset), "--output", "runs/first", "--dry-run", *words]
        asked = parse_command(arguments)
        train.pretrain.rehearse(asked, asked.config, num_processes=num_processes)

    return call


@pytest.mark.slow
def test_it_tells_what_a_run_would_be_and_leaves_the_picture_alone(
    rehearse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearse("--run.epochs", "3", "--preview", "views.png")
    said = capsys.readouterr().out
    assert "images: 64, of which an epoch takes 64" in said
    assert "steps: 12, of 16 images each; 3 epochs" in said
    assert re.search(r"measured on [123] after a first of", said), said  # of three, where the machine is not too busy
    assert "epochs: 3\n" in said
    assert [path.name for path in tmp_path.iterdir()] == ["views.png"]
    with Image.open("views.png") as picture:
        assert picture.width > 4 * 176
    assert describe_world().size == 1


@pytest.mark.slow
def test_of_several_processes_it_takes_the_share_of_one(rehearse, capsys: pytest.CaptureFixture[str]) -> None:
    rehearse("--norm.strategy", "shuffle", num_processes=2)
    said = capsys.readouterr().out
    assert "steps: 2, of 32 images each" in said
    assert "what 2 processes exchange comes on top" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--selection.split", "nothing"], "split .?nothing"),
        (["--run.batch-size", "128"], "run.batch_size 128"),
        (["--views.size", "72"], "views.size 72"),
        (["--loader.engine", "resident", "--loader.resident-gb", "0.00001"], "engine resident"),
        (["--run.knn-label", "nothing"], "run.knn_label 'nothing'"),
    ],
)
def test_what_would_end_a_run_ends_it(rehearse, tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rehearse(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_run_could_not_write(rehearse, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(InputError, match="--output runs/first: runs cannot be written .Not a directory.; "):
        rehearse()
    (tmp_path / "runs").unlink()
    with Writer(tmp_path / "runs" / "first").hold(), pytest.raises(InputError, match="is writing this run"):
        rehearse()
