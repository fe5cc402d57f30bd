from pathlib import Path

import pytest

from shards.base.errors import InputError
from tests.conftest import ROOT
from train.settings.command import parse_command


def test_a_recipe_and_its_settings() -> None:
    config = parse_command(
        [
            "--local_rank=1",
            "debug",
            "--data",
            "a",
            "b",
            "--output",
            "run",
            "--run.batch-size",
            "8",
            "--views.size",
            "48",
        ]
        + ["--optimizer.betas", "0.8", "0.95", "--encoder.no-channels-last"]
    ).config
    assert config.data == ("a", "b")
    assert (config.run.batch_size, config.views.size, config.optimizer.betas) == (8, 48, (0.8, 0.95))
    assert not config.encoder.channels_last
    assert config.method.queue_size == 32, "the rest is the recipe's"


def test_no_or_unknown_recipe() -> None:
    with pytest.raises(InputError, match="recipe: none given"):
        parse_command(["--data", "a"])
    with pytest.raises(InputError, match="recipe 'debgu': unknown; did you mean debug"):
        parse_command(["debgu"])


def test_help_lists_the_recipes_and_launchers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse_command(["--help"])
    said = capsys.readouterr().out
    assert "moco_cxr_densenet121" in said
    program = ROOT / "train" / "pretrain.py"
    for launcher in ("--num-processes N", "srun moco-cxr", f"deepspeed --hostfile HOSTS {program}", "torchrun"):
        assert launcher in said


def test_an_unknown_setting_is_one_line_that_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^--run\.batch-sizes: no such option .+ did you mean --run\.batch-size\?$"):
        parse_command(["debug", "--run.batch-sizes", "3"])
    assert capsys.readouterr().err == ""


def test_a_class_that_checks_itself_speaks_without_the_parsers_frame(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^views\.size 4: out of range; give 8 to 8192, in pixels$"):
        parse_command(["debug", "--data", "a", "--views.size", "4"])
    assert capsys.readouterr().err == ""


def test_a_picture_is_drawn_in_a_dry_run_only() -> None:
    asked = parse_command(["debug", "--dry-run", "--preview", "views.png"])
    assert (asked.dry_run, asked.preview) == (True, Path("views.png"))
    with pytest.raises(InputError, match="--preview views.png: is drawn in a dry run only"):
        parse_command(["debug", "--preview", "views.png"])


def test_settings_are_spelled_in_messages_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As options, or as lines of the file that they are from, unless an option has gone before it."""
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("recipe: debug\nmethod: {queue-size: 10}\nrun: {batch_size: 8, epochs: 3}\n")
    message = "method.queue_size 10: smaller than the 16 keys; raise it, or lower run.batch_size, not run.epochs."
    for words, wanted in (
        (["debug"], "--method.queue-size 10: smaller than the 16 keys; raise it, or lower --run.batch-size, not --run"),
        (["my.yaml"], "recipe my.yaml: method.queue_size 10: smaller than the 16 keys; raise it, or lower run.batch_"),
        (["--config", "my.yaml", "--run.batch-size=4"], "--config my.yaml: method.queue_size 10: smaller than the 16"),
    ):
        with pytest.raises(InputError) as caught, parse_command(words).spelling.spoken():
            raise InputError(f"2 settings:\n{message}")
        first, line = str(caught.value).splitlines()
        assert first == "2 settings:"
        assert line.startswith(wanted)
    assert "lower --run.batch-size, not run.epochs." in line
