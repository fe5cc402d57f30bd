"""Recipes in files of the user's own."""

from dataclasses import replace
from pathlib import Path

import pytest

from shards.base.dataclass_io import to_yaml
from shards.base.errors import InputError
from train.settings.command import parse_command
from train.settings.own_recipe import find_recipe
from train.settings.recipes import debug, recipe

PYTHON = """
from __future__ import annotations
from dataclasses import dataclass, replace

from train.settings.config import PretrainConfig
from train.settings.recipes import debug


@dataclass
class Mine:
    epochs: int = 7


def longer() -> PretrainConfig:
    '''Longer than debug.'''
    return replace(debug(), run=replace(debug().run, epochs=Mine().epochs))


def _made(epochs):
    return epochs
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_in_a_python_file(here: Path) -> None:
    (here / "my.py").write_text(PYTHON)
    config, told = find_recipe("my.py")
    assert config == replace(debug(), run=replace(debug().run, epochs=7))
    assert told == "Longer than debug."
    (here / "my.py").write_text(f"{PYTHON}\ndef other():\n    return debug()\n")
    assert parse_command(["my.py:longer", "--run.seed", "3"]).config.run.epochs == 7
    assert sorted(path.name for path in here.iterdir()) == ["my.py"], "nothing is left beside it"


def test_a_yaml_file_over_a_recipe(here: Path) -> None:
    (here / "my.yaml").write_text("recipe: debug\ndata: [a, b]\nrun: {epochs: 7, batch-size: 8}\n")
    asked = parse_command(["my.yaml", "--output", "out", "--run.batch-size", "4"])
    assert (asked.config.data, asked.config.run.epochs, asked.config.run.batch_size) == (("a", "b"), 7, 4)
    assert asked.config.method == debug().method
    assert parse_command(["--config", "my.yaml", "--output", "out", "--run.batch-size", "4"]) == asked
    assert parse_command(["debug", "--config", "my.yaml", "--output", "out", "--run.batch-size", "4"]) == asked


@pytest.mark.parametrize("start", [recipe("debug"), replace(debug(), data=("a",), output=Path("run"))])
def test_what_a_run_writes_is_such_a_file(here: Path, start: object) -> None:
    (here / "config.yaml").write_text(to_yaml(start))
    assert parse_command(["--config", "config.yaml"]).config == start
    assert find_recipe("config.yaml")[0] == start


def test_a_switch_can_be_turned_either_way(here: Path) -> None:
    (here / "my.yaml").write_text("recipe: debug\nmethod: {mask_same_patient: true, projector_norm: false}\n")
    words = ["my.yaml", "--method.mask-same-patient", "--method.no-projector-norm"]
    assert parse_command(words).config == parse_command(["my.yaml"]).config
    words = ["my.yaml", "--method.no-mask-same-patient", "--method.projector-norm"]
    assert parse_command(words).config.method == debug().method


@pytest.mark.parametrize(
    ("name", "content", "word", "said"),
    [
        ("my.py", "def one():\n    return 1 / 0\n", "my.py", "line 2: ZeroDivisionError: division by zero"),
        ("my.py", "x = (\n", "my.py", "line 1: SyntaxError: '(' was never closed"),
        ("my.py", "raise SystemExit(3)\n", "my.py", "line 1: SystemExit: 3"),
        ("my.py", "def one():\n    return 1\n", "my.py", "one: returns int, no train.settings.config.PretrainConfig"),
        ("my.py", "one = 1\n", "my.py", "holds no function; define one"),
        ("my.py", "def a(): ...\ndef b(): ...\n", "my.py", "holds several functions; give one of my.py:a, my.py:b"),
        ("my.py", "def a(): ...\n", "my.py:b", "no function b in it; give one of my.py:a"),
        ("other", "", "my.py", "no such file; give a recipe's name, a file NAME.yaml, or NAME.py:FUNCTION"),
        ("other", "", "my.yaml", "no such file; give a YAML file of settings"),
        ("my.yaml", "run: {epochs: 2}\n", "my.yaml", "recipe: missing; name the one that it starts from"),
        ("my.yaml", "recipe: debgu\n", "my.yaml", "recipe 'debgu': unknown; did you mean debug?"),
        ("my.yaml", "recipe: debug\nruns: {}\n", "my.yaml", "runs: no such field; did you mean run?"),
        ("my.yaml", "recipe: debug\nrun: {epochs: many}\n", "my.yaml", "run.epochs 'many': give a whole number"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_in_one_line(
    here: Path, name: str, content: str, word: str, said: str
) -> None:
    (here / name).write_text(content)
    with pytest.raises(InputError) as caught:
        parse_command([word])
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"recipe {word.partition(':')[0]}:")
    assert said in line


def test_two_recipes_are_one_too_many(here: Path) -> None:
    (here / "my.yaml").write_text("recipe: debug\n")
    with pytest.raises(InputError, match=r"--config my.yaml: recipe 'debug': another one is given beside the file"):
        parse_command(["small_resnet18", "--config", "my.yaml"])
