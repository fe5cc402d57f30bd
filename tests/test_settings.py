"""Every number that a user can set is finite and bounded, and what is beyond is refused in a line, whatever it is."""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro

from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError, run_command
from shards.base.stored import dump_yaml
from tests.conftest import ROOT
from train.settings.command import parse_command

SETTINGS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("shards", "pipeline", "train", "eval", "benchmarks")
    for pattern in ("config.py", "settings.py", "suite.py", "views.py", "options.py", "__main__.py", "bounds.py")
    for path in sorted((ROOT / package).rglob(pattern))
]
# What each command cannot do without; of a command that is not here, its name.
NEEDED = {
    "shards build": "--source nih --input a --output b",
    "shards verify": "a",
    "shards stats": "a",
    "shards preview": "a",
    "shards subset": "a --output b",
    "shards merge": "a --output b",
    "shards phantom": "--output a",
    "pipeline preview": "--data a",
    "train export": "--run a --format timm --output b",
    "eval export": "--model a",
    "benchmarks gpu": "--output a",
    "benchmarks gpu-pack": "--output a",
    **dict.fromkeys(
        ("eval linear", "eval knn", "eval few-shot", "eval finetune", "eval multimodal"), "--run a --data b --label c"
    ),
    "eval grid": "a",
    "eval search": "a",
    "eval table": "a",
    "eval report": "a",
    "eval draws": "export --data a --label b --output c",
    "benchmarks compare": "a b",
}
HOSTILE = ("nan", "inf", "-inf", "1e400", str(2**70), "-1", "0")


def dataclasses_in(module: str) -> list[type]:
    found = vars(importlib.import_module(module)).values()
    return [
        each
        for each in found
        if dataclasses.is_dataclass(each) and isinstance(each, type) and each.__module__ == module
    ]  # type: ignore[misc]


def numbers_in(hint: Any) -> tuple[type, int] | None:
    """What an option takes: whole numbers or any, and how many; None where it takes something else."""
    inside = [part for part in typing.get_args(hint) if part is not type(None)]
    if hint in (int, float):
        return hint, 1
    if typing.get_origin(hint) is tuple:
        found = numbers_in(inside[0])
        return found and (found[0], len([part for part in inside if part is not Ellipsis]))
    return next(filter(None, map(numbers_in, inside)), None)


def every_field() -> list[tuple[type, str, Any]]:
    kinds = {kind for module in SETTINGS for kind in dataclasses_in(module)}
    found = []
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__name__)):
        hints = typing.get_type_hints(kind, include_extras=True)
        found += [(kind, field.name, hints[field.name]) for field in dataclasses.fields(kind)]
    return [(kind, name, hint) for kind, name, hint in found if numbers_in(hint)]


def refusal(kind: type, value: Any) -> str:
    try:
        from_mapping(kind, {"it": value})
    except InputError as error:
        return str(error)
    return ""


def test_every_number_of_every_settings_class_is_bounded_by_its_type() -> None:
    fields = every_field()
    assert len(fields) > 150
    for kind, name, hint in fields:
        alone = dataclasses.make_dataclass("Alone", [("it", hint)])
        number, count = numbers_in(hint) or (int, 1)
        for value in (float("nan"), float("inf"), 1e300, -1e300) if number is float else (2**70, -(2**70)):
            said = refusal(alone, [value] * count if "tuple" in str(hint) else value)
            assert said.startswith(f"it {value}: out of range; give "), f"{kind.__name__}.{name}"
            assert len(said.splitlines()) == 1


def commands_of(package: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """The functions behind a package's commands, checks and all, that do nothing once their arguments are right."""
    found: dict[str, Callable[..., Any]] = {}
    module = importlib.import_module(f"{package}.__main__")
    monkeypatch.setattr(module, "run_subcommand", lambda commands, **_: found.update(commands))
    monkeypatch.setattr(sys, "argv", [package])
    module.main()
    monkeypatch.undo()

    def idle(command: Callable[..., Any]) -> Callable[..., Any]:
        return functools.wraps(command)(lambda *_, **__: None)

    return {name: idle(command) for name, command in found.items()}


def options_of(hints: dict[str, Any], prefix: str = "--") -> Iterator[tuple[str, type, int]]:
    """Each numeric option, and what it takes."""
    for name, hint in hints.items():
        marks = getattr(hint, "__metadata__", ())
        bare = hint.__origin__ if marks else hint
        if dataclasses.is_dataclass(bare):
            is_flat = tyro.conf.OmitArgPrefixes in marks or any(getattr(mark, "name", None) == "" for mark in marks)
            inner = typing.get_type_hints(bare, include_extras=True)
            yield from options_of(inner, prefix if is_flat else f"{prefix}{name}.")
        elif found := numbers_in(hint):
            yield f"{prefix}{name}".replace("_", "-"), *found


def every_option(package: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Callable[[list[str]], Any], Any]]:
    """For each command a function that parses and checks words, and its numeric options."""
    from shards.base.commands import run_subcommand
    from train.settings.config import PretrainConfig

    if package == "train.pretrain":
        from train.settings.checks import check_config

        def pretrain(words: list[str]) -> None:
            check_config(parse_command(["debug", "--data", "a", "--output", "b", *words]).config, world_size=1)

        yield pretrain, list(options_of(typing.get_type_hints(PretrainConfig, include_extras=True)))
        return
    for name, command in commands_of(package, monkeypatch).items():
        needed = NEEDED.get(f"{package} {name}", "")

        def call(words: list[str], name: str = name, command: Any = command, needed: str = needed) -> None:
            arguments = [name, *needed.split(), *words]
            run_subcommand({name: command, "other": _other}, args=arguments, package=package)

        hints = typing.get_type_hints(inspect.unwrap(command), include_extras=True)
        hints = {each: hints[each] for each in inspect.signature(command).parameters}
        yield call, list(options_of(hints))


def _other() -> None:
    """A second command, without which there would be no subcommands."""


def answer(call: Callable[[list[str]], Any], words: list[str]) -> tuple[int, str]:
    """Exit status, and what was said, the frames around it taken away."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), pytest.raises(SystemExit) as ended:
        run_command(lambda: call(words))
    return int(ended.value.code or 0), said.getvalue()


PACKAGES = ("shards", "pipeline", "train", "train.pretrain", "eval", "benchmarks")


@pytest.mark.parametrize("package", PACKAGES)
def test_all_numbers_of_a_command_at_once(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option that was given what no number can be is named; views, which check themselves, before all others."""
    monkeypatch.setenv("COLUMNS", "10000")
    for call, options in every_option(package, monkeypatch):
        for value, wanted in (("1e400", float), (str(2**70), int)):
            words = [
                (name, [name, *[value] * count])
                for name, kind, count in options
                if kind is wanted and "views." not in name and name != "--size"
            ]
            status, said = answer(call, [word for _, each in words for word in each])
            assert status == (2 if words else 0), said
            missing = [name for name, _ in words if f"{name.removeprefix('--')} " not in said.replace("_", "-")]
            assert not missing, (value, said)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_command_takes_its_settings_from_a_file(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And refuses there what it refuses on the command line, a line for each with the file before it."""
    file = tmp_path / "settings.yaml"
    for call, options in every_option(package, monkeypatch):
        names = [name.removeprefix("--") for name, kind, _ in options if kind is int and "views." not in name]
        content: dict[str, Any] = {"nothing_such": 1}
        for *sections, name in (each.split(".") for each in names):
            section = functools.reduce(lambda inner, each: inner.setdefault(each, {}), sections, content)
            section[name] = "many"
        file.write_text(dump_yaml(content))
        status, said = answer(call, ["--config", str(file)])
        lines = said.removeprefix("error: ").splitlines()
        assert status == 2
        assert all(line.startswith(f"--config {file}: ") for line in lines), said
        for name in ["nothing_such", *names]:
            assert any(name.replace("-", "_") in line for line in lines), (name, said)


@pytest.mark.slow
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("package", PACKAGES)
def test_each_number_of_each_command_alone(package: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken, as what it can be, or refused in one line that names it; the parser draws a frame around its own."""
    for call, options in every_option(package, monkeypatch):
        for name, kind, count in options:
            status, said = answer(call, [name, *[value] * count])
            assert status in (0, 2), (name, said)
            is_beyond = kind is int if value == str(2**70) else value not in ("-1", "0")
            assert status == 2 or not is_beyond, f"{name} takes {value}"
            if status and "For full helptext" not in said:
                assert len(said.splitlines()) == 1, said
                assert name.removeprefix("--").replace("-", "_") in said.replace("-", "_")


@pytest.mark.parametrize("value", ["x\udcff", "abc"])
def test_surroundings_that_no_command_can_work_in(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["shards", value])
    monkeypatch.setenv("OMP_NUM_THREADS", "abc")
    status, said = answer(lambda _: pytest.fail("it ran"), [])
    assert status == 2
    assert ("x\\udcff" if value.startswith("x") else "OMP_NUM_THREADS 'abc'") in said
    monkeypatch.setattr(sys, "argv", ["shards"])
    for right in ("4", "4,2", "1"):
        monkeypatch.setenv("OMP_NUM_THREADS", right)
        assert answer(lambda _: None, [])[0] == 0
