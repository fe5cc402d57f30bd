"""Every command over a table of wrong inputs: exit code 2 and one line, whatever is wrong, and no traceback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shards.base.errors
from shards.base.errors import InputError
from tests.conftest import ROOT
from tests.damage import as_yaml
from tests.test_damaged_commands import call, stage  # noqa: F401

NUM_QUICK = 5  # wrong inputs of each command that the fast test tries

_EVAL = "--run @run --data @data --label blob --output @out --fraction 1"
COMMANDS = {
    "shards build": "--source folder --input @images --output @out --workers 1",
    "shards verify": "@data --workers 1",
    "shards stats": "@data",
    "shards preview": "@data --output @out.png",
    "shards subset": "@data --output @out",
    "shards merge": "@data @other --output @out",
    "shards phantom": "--output @out",
    "pipeline preview": "--data @data --output @out.png",
    "pretrain debug": "--data @data --output @out",
    "train export": "--run @run --format torchvision --output @out.pt",
    "eval linear": _EVAL,
    "eval knn": _EVAL,
    "eval few-shot": _EVAL.replace("--fraction", "--shots"),
    "eval finetune": _EVAL,
    "eval multimodal": f"{_EVAL} --inputs image",
    "eval grid": "@grid.yaml --output @out",
    "eval search": "@search.yaml --output @out",
    "eval table": "@results",
    "eval report": "@results",
    "eval draws": "export --data @data --label blob --output @out.parquet",
    "eval export": "--model @run --format onnx --output @out.onnx",
    "predict": "--model @run --input @images --output @out.csv",
    "embed": "--model @run --input @images --output @out.parquet",
    "benchmarks hotpath": "--quick --output @out.json",
    "benchmarks step": "--data @data --quick --output @out.json",
    "benchmarks loader": "--data @data --quick --output @out.json",
    "benchmarks packing": "--quick --output @out.json",
    "benchmarks index": "--quick --output @out.json",
    "benchmarks peers": "--data @data --quick --output @out.json",
    "benchmarks scaling": "--quick --output @out.json",
    "benchmarks evaluation": "--quick --output @out.json",
    "benchmarks multimodal": "--quick --output @out.json",
    "benchmarks report": "--results @bench --output @out",
    "benchmarks compare": "@bench/hotpath-cpu.json @bench/hotpath-cpu.json",
}
# A number of each command, for those that have one.
NUMBERS = {
    "shards build": "--max-rejected",
    "shards verify": "--workers",
    "shards preview": "--rows",
    "shards subset": "--fraction",
    "shards phantom": "--size",
    "pipeline preview": "--images",
    "pretrain debug": "--run.epochs",
    **dict.fromkeys(("eval linear", "eval knn", "eval few-shot", "eval finetune", "eval multimodal"), "--draws"),
    "eval grid": "--jobs",
    "eval report": "--max-images",
    "eval draws": "--draws",
    **dict.fromkeys(("predict", "embed"), "--batch-size"),
    **dict.fromkeys((f"benchmarks {name}" for name in ("hotpath", "packing", "index", "peers", "scaling")), "--turns"),
    "benchmarks evaluation": "--images",
    "benchmarks multimodal": "--steps",
    "benchmarks compare": "--allow",
}


def wrong_inputs(command: str) -> Iterator[tuple[str, str]]:
    """What is wrong, and the command line with that; ``@`` is the folder of the stage."""
    right = COMMANDS[command]
    if "@data" in right:
        for what, place in (
            ("missing dataset", "@none"),
            ("dataset that is a file", "@file"),
            ("empty folder", "@empty"),
            ("folder of other things", "@images"),
            ("damaged index", "@damaged-index"),
            ("damaged manifest", "@damaged-manifest"),
        ):
            yield what, right.replace("@data", place)
    for option in ("--run", "--model", "--input", "--results"):
        if f"{option} @" in right:
            place = right.partition(f"{option} ")[2].split()[0]
            yield f"missing {option}", right.replace(f"{option} {place}", f"{option} @none")
            yield f"{option} that is empty", right.replace(f"{option} {place}", f"{option} @empty")
    if "--output" in right:
        output = right.partition("--output ")[2].split()[0]
        name = output.removeprefix("@")
        yield "output below a file", right.replace(output, f"@file/{name}")
        yield "output below a device", right.replace(output, f"/dev/null/{name}")
        yield "output in a folder closed to writing", right.replace(output, f"@closed/{name}")
        yield "option that is given twice", f"{right} --output @again"
        yield "empty value", right.replace(f"--output {output}", "--output=")
    if "--label" in right:
        yield "unknown label", right.replace("--label blob", "--label nothing")
    if number := NUMBERS.get(command):
        for value in ("many", "nan", "inf", "-inf", "1e400", "-7"):
            yield f"{number} {value}", f"{right} {number} {value}"
    if command in ("eval grid", "eval search"):
        yield "output of a file below a device", right.replace(".yaml --output @out", "-to-null.yaml")
    yield "unknown option", f"{right} --nothing 1"
    yield "missing file of settings", f"{right} --config @none.yaml"
    yield "file that holds no settings", f"{right} --config @file"
    yield "unknown setting in a file", f"{right} --config @wrong.yaml"
    if command.startswith("pretrain"):
        yield "unknown split", f"{right} --selection.split trian"


@pytest.fixture(scope="module")
def place(stage: Path) -> Path:  # noqa: F811
    """The stage with things that are wrong."""
    (stage / "file").write_text("text\n")
    (stage / "wrong.yaml").write_text("nothing_such: 1\n")
    for name in ("empty", "closed"):
        (stage / name).mkdir()
    for name, damaged in (("damaged-index", "index.parquet"), ("damaged-manifest", "dataset.json")):
        shutil.copytree(stage / "data", stage / name)
        (stage / name / damaged).write_bytes((stage / name / damaged).read_bytes()[:100])
    shutil.copytree(stage / "bench", stage / "results")
    search = {"data": [str(stage / "data")], "label": ["blob"], "recipes": ["debug"], "images": 1000}
    (stage / "search.yaml").write_bytes(as_yaml(search))
    for name in ("grid", "search"):
        (stage / f"{name}-to-null.yaml").write_bytes((stage / f"{name}.yaml").read_bytes() + b"\noutput: /dev/null/x\n")
    (stage / "closed").chmod(0o500)
    return stage


@pytest.fixture
def closed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere: then the system's answer is another's."""
    if os.access(place / "closed", os.W_OK):
        real = os.access
        monkeypatch.setattr(
            shards.base.errors.os, "access", lambda path, mode: Path(path).name != "closed" and real(path, mode)
        )


def test_the_table_is_of_every_command_and_of_twenty_wrong_inputs() -> None:
    whats = {what for command in COMMANDS for what, _ in wrong_inputs(command)}
    assert len(whats) > 20


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[*COMMANDS])
def test_a_command_tells_a_wrong_input_in_one_line(place: Path, closed: None, number: int) -> None:
    command = [*COMMANDS][number]
    wrong = [*wrong_inputs(command)]
    for turn in range(min(NUM_QUICK, len(wrong))):  # others for each command
        what, words = wrong[(NUM_QUICK * number + turn) % len(wrong)]
        with pytest.raises(InputError) as caught:
            call(f"{command} {words}".replace("@", f"{place}/"))
        is_report = command == "shards verify" and "DAMAGED" in str(caught.value)
        assert len(str(caught.value).strip().splitlines()) == 1 or is_report, (what, str(caught.value))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"recipe .*mine\.yaml: no such file"),
        ("a: [", r"recipe .*mine\.yaml: is no YAML \(line 1: "),
        ("recipe: debgu\n", r"recipe .*mine\.yaml: recipe 'debgu': unknown; did you mean debug\?"),
    ],
)
def test_a_recipe_that_is_none_is_one_line(place: Path, tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(InputError, match=told) as caught:
        call(f"pretrain {tmp_path}/mine.yaml --data {place}/data --output {tmp_path}/out")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("command", [command for command, words in COMMANDS.items() if "--output" in words])
def test_no_command_writes_into_a_dataset(place: Path, command: str) -> None:
    output = COMMANDS[command].partition("--output ")[2].split()[0]
    words = COMMANDS[command].replace(output, f"@data/{output.removeprefix('@')}")
    with pytest.raises(InputError, match=f"lies in the packed dataset {place / 'data'}; give a folder outside it"):
        call(f"{command} {words}".replace("@", f"{place}/"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_every_wrong_input_in_one_line(place: Path, command: str) -> None:
    """In processes of their own."""
    for what, words in wrong_inputs(command):
        if "@closed" in words and os.access(place / "closed", os.W_OK):
            continue  # root, whom no folder is closed to
        line = f"{command} {words}".replace("@", f"{place}/")
        done = subprocess.run(
            [sys.executable, "-m", "moco_cxr", *line.split()], capture_output=True, text=True, check=False, cwd=ROOT
        )
        told = done.stdout if done.returncode == 1 and command.startswith("shards verify") else done.stderr
        assert done.returncode == 2 or told is done.stdout, (what, done.stderr)
        assert "Traceback" not in done.stderr, what
        lines = [line for line in told.strip().splitlines() if not line.startswith(("warning: ", "note: "))]
        assert len(lines) == 1 or told is done.stdout, (what, told)
