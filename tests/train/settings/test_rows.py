from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.derived import write_subset
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from tests.conftest import draw_pattern
from train.settings.config import PretrainConfig, SelectionConfig
from train.settings.recipes import recipe
from train.settings.rows import select_rows


def select(folder: Path, **selection: object) -> PretrainConfig:
    return replace(recipe("debug"), data=(str(folder),), selection=SelectionConfig(**selection))  # type: ignore[arg-type]


def test_selects_by_split_and_fraction(tiny_dataset: Path) -> None:
    assert len(select_rows(select(tiny_dataset))) == 64
    assert len(select_rows(select(tiny_dataset, split="all"))) == 96
    assert 0 < len(select_rows(select(tiny_dataset, fraction=0.25))) <= 20


def test_selects_by_view(tmp_path: Path) -> None:
    """``all`` also takes what is neither."""
    (tmp_path / "source").mkdir()
    views = ["frontal", "lateral", "frontal", ""]
    for i in range(len(views)):
        Image.fromarray(draw_pattern(i, has_blob=False)).save(tmp_path / "source" / f"{i}.png")
    lines = ["file,view", *(f"{i}.png,{view}" for i, view in enumerate(views))]
    (tmp_path / "source" / "list.csv").write_text("\n".join(lines))
    options = SourceOptions(csv=Path("list.csv"), path_column="file", view_column="view")
    build_dataset(
        BuildConfig(
            source="table",
            input=tmp_path / "source",
            output=tmp_path / "packed",
            size=64,
            workers=1,
            source_options=options,
        )
    )
    chosen = {view: select_rows(select(tmp_path / "packed", view=view)) for view in ("all", "frontal", "lateral")}
    assert {view: len(index) for view, index in chosen.items()} == {"all": 4, "frontal": 2, "lateral": 1}
    assert set(chosen["lateral"].column("view")) == {"lateral"}


def test_an_empty_selection_says_what_was_asked(tiny_dataset: Path) -> None:
    with pytest.raises(InputError, match="selection.split 'nowhere': no image has it. Known are test, train"):
        select_rows(select(tiny_dataset, split="nowhere"))
    with pytest.raises(InputError, match="selection.view lateral: selects no image"):
        select_rows(select(tiny_dataset, view="lateral"))


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        select_rows(select(tmp_path / "none"))


def test_images_that_are_given_twice_are_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    write_subset(ShardIndex.open(tiny_dataset).take(range(8)), tmp_path / "part", selection={})
    config = replace(select(tiny_dataset), data=(str(tiny_dataset), str(tmp_path / "part")))
    with pytest.raises(InputError, match="--data: 8 images are in two of the datasets"):
        select_rows(config)
