"""What tyro refuses, as one line: of commands with subcommands, and of pretraining."""

import pytest

from eval.__main__ import main as eval_main
from shards.__main__ import main as shards_main
from shards.base.errors import InputError
from shards.base.mistakes import nearest, plain_help
from train.settings.command import parse_command

SHARDS = {
    "": "command: none given; moco-cxr shards has build, merge, phantom, preview, stats, subset, verify",
    "biuld": "biuld: no such command; did you mean build? moco-cxr shards has build, merge",
    "build": "--source, --input, --output: not given; moco-cxr shards build needs them; --source is one of brax, ",
    "build --source folder --output b --inptu a": "--inptu: no such option of moco-cxr shards build; did you mean --i",
    "build --source folder --output b --inptu=a": "--inptu: no such option of moco-cxr shards build; did you mean --i",
    "build --source nhi --input a --output b": "--source nhi: no such value; did you mean nih? give one of ",
    "build --source folder --input a --output": "--output: no value given; it takes PATH",
    "merge a": "--output: not given; moco-cxr shards merge needs it",
    "build --source folder --input Export Röntgen 2023 --output b": "Röntgen, 2023: not understood behind --input Expor"
    "t; a path with blanks needs quotes: --input 'Export Röntgen 2023'; moco-cxr shards build --help tells what it ta",
    "preview a --output b --rows many": "--rows many: give a whole number",
    "preview a --output b --rows -inf": "--rows -inf: is no finite number; give one",
    "stats a --rejected=5": "5: not understood there; moco-cxr shards stats --help tells what it takes",
}
EVAL = {
    "grid": "PATH: not given; moco-cxr eval grid needs it",
    "draws nothing --data a --label b --output c": "action nothing: no such value; give one of export, import",
    "export --model a --format nope": "--format nope: no such value; give one of hub, onnx, pt2",
    "linear --run a --data b --label c --fraction_ 1": "--fraction-: no such option of moco-cxr eval linear; did you",
}
PRETRAIN = {
    "debug --epochs 3": "--epochs: no such option of moco-cxr pretrain debug; did you mean --run.epochs?",
    "debug --run.epochs many": "--run.epochs many: give a whole number",
    "debug --nothing 1": "--nothing: no such option of moco-cxr pretrain debug; its --help tells which there are",
    "debug --output my runs": "runs: not understood behind --output my; a path with blanks needs quotes: --output "
    "'my runs'; moco-cxr pretrain debug --help tells what it takes",
    "debug stray": "stray: not understood there; moco-cxr pretrain debug --help tells what it takes",
}


@pytest.mark.parametrize(
    ("words", "told", "main"),
    [
        *((words, told, shards_main) for words, told in SHARDS.items()),
        *((words, told, eval_main) for words, told in EVAL.items()),
        *((words, told, None) for words, told in PRETRAIN.items()),
    ],
)
def test_each_mistake_is_one_line(words, told, main, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["python", *words.split()])
    with pytest.raises(InputError) as raised:
        parse_command(words.split()) if main is None else main()
    assert str(raised.value).startswith(told)
    assert "None" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr() == ("", "")


def test_several_mistakes_are_told_together():
    with pytest.raises(InputError) as raised:
        parse_command(["debug", "--rum.epochs", "3", "--loader.engine", "dail", "--run.seed"])
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == [
        "--rum.epochs",
        "--loader.engine dail",
        "--run.seed",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [("--epochs", "; did you mean --run.epochs?"), ("--run.epohcs", "; did you mean --run.epochs?"), ("--zzz", ";")],
)
def test_the_nearest_name(name, told):
    assert nearest(name, ["--run.epochs", "--run.seed", "--method.queue-size"]) == told


BOXED = """\
╭─ config options ─────────────────────────────╮
│ --output {None}|PATH  Where. (default: None) │
│ --blank {None,absent} What. (default: None)  │
│ --big, --no-big       Size. (default: True)  │
╰──────────────────────────────────────────────╯
"""
PLAIN = """\
╭─ options ────────────────────────────────────╮
│ --output PATH         Where. (default: none) │
│ --blank {absent} What. (default: none)       │
│ --big, --no-big       Size. (default: on)    │
╰──────────────────────────────────────────────╯

--no-NAME switches off what --NAME switches on.
"""


def test_help_says_nothing_of_code() -> None:
    """And keeps its columns; a section whose options bear its name keeps it."""
    assert plain_help(BOXED) == PLAIN
    named = " run options\n  --run.epochs INT  How many. (default: 1)\n"
    assert plain_help(named) == named
