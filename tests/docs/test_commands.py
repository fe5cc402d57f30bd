"""The site's page of a command has all that its parser takes, and no more of a help's frames."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest

from shards.base.mistakes import known
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def commands() -> ModuleType:
    spec = spec_from_file_location("docs_commands", ROOT / "docs" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["train", "pipeline", "predict"])
def test_every_option_has_its_line(commands: ModuleType, name: str) -> None:
    page = commands.page(name)
    about = known(commands._entry(name))
    for told in about["subcommands"].values() or [about]:
        for option in told["options"]:
            flag = option["flags"][0]
            assert (f"| `{flag}`" in page) == (flag not in ("-h", "--config")), flag
    assert not re.search(r"-{20}|[╭│╰]", page), "a frame of the help"
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in page.splitlines() if line.startswith("|"))


def test_the_page_of_pretraining_lists_recipes_and_settings(commands: ModuleType) -> None:
    page = commands.page("pretrain")
    assert "small_resnet18 " in page
    assert "| `--method.queue-size` | `INT` |" in page


def test_what_is_no_option_is_there_too(commands: ModuleType) -> None:
    assert "usage: moco-cxr eval table" in (page := commands.page("eval"))
    assert re.search(r"^```text\n\[\[PATH \[PATH ...\]\]\] +Folders of results", page, re.MULTILINE)
    assert commands.page("doctor").count("usage: moco-cxr doctor") == 1
