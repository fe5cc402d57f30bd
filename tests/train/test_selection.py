from dataclasses import replace
from pathlib import Path

import pytest

from shards.errors import InputError
from train.config import PretrainConfig
from train.recipes import recipe
from train.sections import SelectionConfig
from train.selection import select_rows


def select(folder: Path, **selection: object) -> PretrainConfig:
    return replace(recipe("debug"), data=(str(folder),), selection=SelectionConfig(**selection))  # type: ignore[arg-type]


def test_selects_by_split_and_fraction(tiny_dataset: Path) -> None:
    assert len(select_rows(select(tiny_dataset))) == 64
    assert len(select_rows(select(tiny_dataset, split="all"))) == 96
    assert 0 < len(select_rows(select(tiny_dataset, fraction=0.25))) <= 20


def test_an_empty_selection_says_what_was_asked(tiny_dataset: Path) -> None:
    with pytest.raises(InputError, match="selection.split nowhere: selects no image"):
        select_rows(select(tiny_dataset, split="nowhere"))
    with pytest.raises(InputError, match="selection.view lateral: selects no image"):
        select_rows(select(tiny_dataset, view="lateral"))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        select_rows(select(tmp_path / "none"))
