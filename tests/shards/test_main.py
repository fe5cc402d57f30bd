import json
import shutil

import pytest
from PIL import Image

from shards.__main__ import main
from shards.base.errors import run_command
from shards.index import ShardIndex


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs ``python -m shards ARGUMENTS`` in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["shards", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run_command(main)
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return call


def test_verify_tells_whole_damaged_and_absent_apart(run, tiny_dataset, tmp_path):
    status, out, _ = run("verify", tiny_dataset, "--workers", 1)
    assert status == 0
    assert f"{tiny_dataset}: whole; 96 images" in out
    copy = shutil.copytree(tiny_dataset, tmp_path / "copy")
    (copy / "test-000000.idx").write_text("v1.2 0\n")
    status, out, _ = run("verify", tiny_dataset, copy, "--workers", 1)
    assert status == 1
    assert "whole" in out
    assert "  test-000000.idx: has 7 bytes, not" in out
    assert "remedy: " in out
    status, out, err = run("verify", tmp_path / "none")
    assert (status, out) == (2, "")
    assert err.startswith("error: dataset ")


def test_stats(run, tiny_dataset, tmp_path):
    status, out, _ = run("stats", tiny_dataset, "--where", "split=train", "--output", tmp_path / "new" / "stats.json")
    assert status == 0
    assert "64 images of 64 patients" in out
    assert json.loads((tmp_path / "new" / "stats.json").read_text())["num_images"] == 64


def test_preview(run, tiny_dataset, tmp_path):
    status, out, _ = run("preview", tiny_dataset, "--output", tmp_path / "sheet.png", "--where", "blob=1", "split=test")
    assert status == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert f"({sheet.width}x{sheet.height} px)" in out
    assert run("preview", tiny_dataset, "--output", tmp_path / "sheet.jpg")[0] == 2
    status, _, err = run("preview", tiny_dataset, "--output", tmp_path / "sheet.png" / "x.png")
    assert status == 2
    assert "cannot be written" in err


def test_subset_and_merge(run, tiny_dataset, tmp_path):
    where = ("--where", "split=train")
    status, out, _ = run("subset", tiny_dataset, "--output", tmp_path / "tenth", "--fraction", 0.1, *where)
    assert status == 0
    assert "6 of 64 images, 6 of 64 patients" in out
    status, _, _ = run("subset", tiny_dataset, "--output", tmp_path / "test", "--where", "split=test")
    status, out, _ = run("merge", tmp_path / "tenth", tmp_path / "test", "--output", tmp_path / "both")
    assert status == 0
    assert "38 images of 38 patients in 2 datasets" in out
    assert len(ShardIndex.open(tmp_path / "both")) == 38
    assert run("merge", tmp_path / "tenth", tmp_path / "test", "--output", tmp_path / "both")[0] == 2


def test_nested_draws_are_those_of_eval_and_others_are_independent(run, tiny_dataset, tmp_path):
    keys = {}
    for name, options in {"small": (0.25,), "nested": (0.25, "--nested"), "large": (0.5, "--nested")}.items():
        run("subset", tiny_dataset, "--output", tmp_path / name, "--draw", 3, "--fraction", *options)
        keys[name] = set(ShardIndex.open(tmp_path / name).column("key"))
    assert keys["nested"] < keys["large"]
    assert not keys["small"] <= keys["large"]
    assert keys["nested"] == set(ShardIndex.open(tiny_dataset).fraction(0.25, draw=3).column("key"))


@pytest.mark.parametrize("command", ["build", "verify", "stats", "preview", "subset", "merge"])
def test_help_says_what_the_exit_codes_mean(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "Exit codes: 0" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify",), "no dataset given"),
        (("stats",), "no dataset given"),
        (("merge", "--output", "x"), "at least two"),
        (
            ("subset", "DATA", "--output", "x", "--fraction", "2"),
            "--fraction 2.0: out of range; give a number above 0",
        ),
        (("subset", "DATA", "--output", "x", "--draw", "-1"), "--draw -1: out of range"),
        (("preview", "DATA", "--where", "view=frontal"), "no image has view 'frontal'"),
    ],
)
def test_mistakes_are_one_line(run, tiny_dataset, arguments, message):
    status, out, err = run(*[tiny_dataset if argument == "DATA" else argument for argument in arguments])
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
