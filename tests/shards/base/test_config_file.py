"""``--config`` of commands: over defaults, under what is given on the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from pydantic import Field
from tyro.conf import OmitArgPrefixes, Positional

from shards.base.commands import run_single, run_subcommand
from shards.base.config_file import of_file
from shards.base.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Cut:
    size: Annotated[int, Field(ge=8)] = 64
    ranges: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Common:
    run: tuple[str, ...]
    level: float = 0.5
    mode: Literal["a", "b"] = "a"
    is_long: bool = False
    preset: Annotated[str, tyro.conf.arg(name="cut")] = "plain"


@dataclass(frozen=True, kw_only=True)
class Holder:
    common: OmitArgPrefixes[Common]
    workers: int | None = None


def work(
    file: Positional[Path],
    holder: OmitArgPrefixes[Holder],
    cut: Cut,
    names: tuple[str, ...] = (),
    fine: Annotated[Cut, tyro.conf.arg(name="fine")] = Cut(size=128),
) -> None:
    """Works."""
    raise AssertionError("is replaced")


def other() -> None:
    """Does nothing."""


def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, *words: str) -> dict[str, Any]:
    """What the command is given."""
    given: dict[str, Any] = {}

    def noted(file, holder, cut, names=(), fine=Cut(size=128)):
        given.update(file=file, holder=holder, cut=cut, names=names, fine=fine)

    noted.__annotations__ = work.__annotations__
    (tmp_path / "settings.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    arguments = ["work", *words, "--config", "settings.yaml"]
    run_subcommand({"work": noted, "other": other}, package="shards", args=arguments)
    return given


WHOLE = (
    "file: x\nrun: [r, s]\nlevel: 1\nis-long: true\nworkers: 3\ncut: {size: 16}\nnames: one\nfine: {ranges: [1, 2]}\n"
)


def test_a_file_gives_what_the_command_line_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = called(monkeypatch, tmp_path, WHOLE)
    assert given == {
        "file": Path("x"),
        "holder": Holder(common=Common(run=("r", "s"), level=1.0, is_long=True), workers=3),
        "cut": Cut(size=16),
        "names": ("one",),
        "fine": Cut(size=128, ranges=(1.0, 2.0)),
    }


def test_what_is_given_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["y", "--run", "t", "--no-is-long", "--mode", "b", "--cut.ranges", "0", "3", "--fine.size", "9"]
    given = called(monkeypatch, tmp_path, WHOLE, *words)
    assert given["file"] == Path("y")
    assert given["holder"] == Holder(common=Common(run=("t",), level=1.0, mode="b"), workers=3)
    assert (given["cut"], given["fine"]) == (Cut(size=16, ranges=(0.0, 3.0)), Cut(size=9, ranges=(1.0, 2.0)))


def test_what_the_file_lacks_must_still_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = called(monkeypatch, tmp_path, "level: .25\ncut: wide\n", "f", "--run", "r")
    assert given["holder"] == Holder(common=Common(run=("r",), level=0.25, preset="wide"))
    with pytest.raises(InputError, match="--run: not given"):
        called(monkeypatch, tmp_path, "level: .25\n", "f")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("levle: 1", "levle: no such field; did you mean level?"),
        ("cut: {sizes: 9}", "cut.sizes: no such field; did you mean cut.size?"),
        ("level: high", "level 'high': give a number"),
        ("mode: c", "mode 'c': give a or b"),
        ("cut: {size: 4}", "cut.size 4: out of range; give 8 or more"),
        ("is-long: false\nis_long: true", "is_long: is there twice; leave one"),
        ("- 1", "holds no settings; give lines of name: value"),
        ("", "holds no settings"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_file_that_is_wrong_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        called(monkeypatch, tmp_path, content, "f", "--run", "r")
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"--config settings.yaml: {said}")


def test_one_file_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--config: given twice"):
        called(monkeypatch, tmp_path, WHOLE, "--config", "other.yaml")
    with pytest.raises(InputError, match=r"--config nowhere.yaml: no such file; give a YAML file of settings"):
        run_subcommand({"work": work}, package="shards", args=["work", "--config=nowhere.yaml"])


@dataclass(frozen=True, kw_only=True)
class Asked:
    model: str
    layers: Annotated[tuple[int, ...], tyro.conf.arg(name="features.layers")] = ()


def test_a_command_without_subcommands_and_an_option_whose_name_has_a_section(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Asked] = []

    def embed(config: OmitArgPrefixes[Asked]) -> None:
        """Embeds."""
        given.append(config)

    monkeypatch.chdir(tmp_path)
    for content in ("model: a\nfeatures: {layers: [1, 2]}\n", "model: a\nlayers: [1, 2]\n"):
        Path("settings.yaml").write_text(content)
        run_single(embed, program="moco-cxr embed", args=["--config", "settings.yaml"])
    assert given == [Asked(model="a", layers=(1, 2))] * 2
    Path("settings.yaml").write_text("features: {layers: 1, sizes: 2}\n")
    with pytest.raises(InputError, match=r"^--config settings.yaml: features: no such field; did you mean layers\?$"):
        run_single(embed, program="moco-cxr embed", args=["--model", "a", "--config", "settings.yaml"])


def test_an_option_in_an_error_of_a_file_is_a_field_of_it() -> None:
    told = r"^grid a\.yaml: random_starts 0: too few; --fit\ngrid a\.yaml: label x: y$"
    with pytest.raises(InputError, match=told), of_file(Path("a.yaml"), "grid"):
        raise InputError("--random-starts 0: too few; --fit\nlabel x: y")
