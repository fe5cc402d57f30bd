"""The files of docs/study.md are what their commands take."""

import pytest

from eval.grid.file import read_grid
from eval.search.config import read_search
from shards.base.config_file import with_settings
from tests.conftest import ROOT
from train.settings.own_recipe import find_recipe

FOLDER = ROOT / "docs/study"


@pytest.mark.parametrize("name", ["factors", "combined", "simclr"])
def test_a_search_changes_settings_that_its_recipe_has(name, tmp_path):
    config = read_search(FOLDER / f"{name}.yaml", output=tmp_path)
    assert config.share("PNEUMONIA") == 0.005
    assert config.share("Effusion") == 1
    assert config.settings[0] == {}
    (base, _) = find_recipe(config.recipes[0])
    for group in config.settings:
        for key, values in group.items():
            section, setting = key.split(".")
            for value in values:
                assert with_settings(base, {section: {setting: value}}) != base, f"{key} {value}"


@pytest.mark.parametrize("name", ["kermany", "nih"])
def test_a_grid_compares_lengths(name, tmp_path):
    config = read_grid(FOLDER / f"{name}.yaml", output=tmp_path)
    assert config.settings.protocol == ("cross-validated" if name == "nih" else "clean")
    of_moco = {"epochs-3", "gamma-3", "epochs-10", "epochs-20", "all-5"}
    assert set(config.starts) == {"random", "simclr-3", "simclr-10"} | of_moco
