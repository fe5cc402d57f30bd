"""A page for each command, written from its parser when the site is built: nothing here is told twice.

MkDocs calls the functions below (``hooks`` in mkdocs.yml).
"""

import contextlib
import io
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from moco_cxr.command import COMMANDS
from moco_cxr.packages import PACKAGES
from shards.base.mistakes import known
from shards.base.words import CALLED
from train.settings.command import parse_command
from train.settings.recipes import RECIPES

_WITHOUT_OPTIONS = ("doctor", "completion")
_FRAME = re.compile(r"^ (\w[\w. ]*)\n -{20,}$", re.MULTILINE)  # of a help that goes to no terminal
_DEFAULT = re.compile(r"\s*\((?:default: (.*)|required)\)$", re.DOTALL)
_UNTOLD = ("--help", "--config")  # every command has them


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages behind the guide."""
    config.nav.insert(2, {"Commands": [page_of(name) for name in COMMANDS]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for name in COMMANDS:
        files.append(File.generated(config, page_of(name), content=page(name)))
    return files


def page_of(name: str) -> str:
    return f"commands/{name}.md"


def page(name: str) -> str:
    """What a command is, and a table of its options; of one with subcommands a section for each."""
    return "\n\n".join([f"# moco-cxr {name}", _sentence(COMMANDS[name]), *_sections(name)]) + "\n"


def _sections(name: str) -> Iterator[str]:
    if name in _WITHOUT_OPTIONS:
        yield _block(_said(_entry(name), ["--help"]))
        return
    if name == "pretrain":
        recipe = next(iter(RECIPES))
        yield _block(_said(parse_command, ["--help"]))
        yield "`--num-processes N` starts N processes on this machine ([One command](../command.md#several-processes))."
        yield f"## Settings\n\nWith the values of `{recipe}`; `moco-cxr pretrain RECIPE --help` has another's."
        yield _table(known(parse_command, [recipe])["options"])
        return
    entry = _entry(name)
    about = known(entry)
    yield "Every command takes [`--config FILE.yaml`](../command.md#settings-as-a-file)."
    for subcommand, told in (about["subcommands"] or {"": about}).items():
        if subcommand:
            yield f"## {subcommand}"
        yield from _described(_said(entry, [*filter(None, [subcommand]), "--help"]))
        yield _table(told["options"])


def _entry(name: str) -> Callable[[Sequence[str]], object]:
    """What reads a command's arguments."""
    module = f"{name}.__main__" if name in PACKAGES else f"moco_cxr.commands.{name}"

    def read(words: Sequence[str]) -> object:
        with patch.object(sys, "argv", ["moco-cxr", *words]):
            return import_module(module).main()

    return read


def _said(read: Callable[[Sequence[str]], object], words: Sequence[str]) -> str:
    with (
        contextlib.redirect_stdout(io.StringIO()) as text,
        contextlib.suppress(SystemExit),
        patch.dict("os.environ", {CALLED: "1"}),
    ):
        read(words)
    return text.getvalue()


def _described(said: str) -> Iterator[str]:
    """Of a help its usage, what it says of the command, and of arguments that are no options."""
    head, *frames = _FRAME.split("\n".join(line.rstrip() for line in said.splitlines()))
    usage, _, words = head.partition("\n\n")
    yield _block(usage)
    yield re.sub(r"([*_<])", r"\\\1", words.strip()) if "`" not in words else words.strip()
    if frames and frames[0].startswith("positional"):
        yield _block(textwrap.dedent(frames[1].strip("\n")))


def _block(text: str) -> str:
    return f"```text\n{text.strip()}\n```"


def _table(options: Sequence[dict[str, Any]]) -> str:
    lines = ["| option | takes | what it is | default |", "|---|---|---|---|"]
    for option in options:
        if option["flags"][-1] in _UNTOLD:
            continue
        told = option["description"].replace("%%", "%")
        takes, sign, what = told.partition(" • ")
        takes, what = (takes, what) if sign else ("", told)
        found = _DEFAULT.search(what)
        default = "" if found is None else "**required**" if found[1] is None else _code(found[1])
        flags = ", ".join(f"`{flag}`" for flag in option["flags"])
        takes = _code(takes.replace("{None}|", "").strip("{}").replace(",", ", ") if "{" in takes else takes)
        lines.append(f"| {flags} | {takes} | {_cell(_DEFAULT.sub('', what))} | {default} |")
    return "\n".join(lines)


def _code(text: str) -> str:
    return f"`{text.replace('|', ' or ')}`" if text and text != "None" else ""


def _cell(text: str) -> str:
    """Words in a cell of Markdown."""
    words = " ".join(text.split()).replace("``", "`")
    return re.sub(r"([|*_<])", r"\\\1", words) if "`" not in words else words.replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
