"""The files of docs/methods.md are what their commands take."""

import pytest

from eval.grid.file import read_grid
from eval.search.config import read_search
from shards.base.stored import parse_yaml
from tests.conftest import ROOT
from train.settings.own_recipe import find_recipe

FOLDER = ROOT / "docs/methods"
RECIPES = [path for path in sorted(FOLDER.glob("*.yaml")) if b"recipe:" in path.read_bytes()]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe(path):
    config, _ = find_recipe(str(path))
    assert path.stem.removesuffix("_multicrop") == config.method.name
    assert bool(config.views.small_crops) == path.stem.endswith("_multicrop")
    assert config.encoder.name == "resnet18"
    assert config.views.size == 64


def test_the_search_is_over_all_recipes(tmp_path):
    names = parse_yaml((FOLDER / "rates.yaml").read_text())["recipes"]
    assert sorted(names) == [str(path.relative_to(ROOT)) for path in RECIPES]
    config = read_search(FOLDER / "rates.yaml", output=tmp_path)
    assert config.settings[0]["optimizer.lr"] == (1e-3, 3e-4, 1e-4)


@pytest.mark.parametrize("name", ["kermany", "nih", "finetune"])
def test_a_grid_compares_three_runs_of_each(name, tmp_path):
    config = read_grid(FOLDER / f"{name}.yaml", output=tmp_path)
    runs = {method: sources for method, sources in config.starts.items() if method != "random"}
    assert sorted(runs) == [path.stem for path in RECIPES]
    assert all(sources == tuple(f"runs/{method}-{seed}" for seed in range(3)) for method, sources in runs.items())
