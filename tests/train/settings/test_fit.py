from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from train.settings.checks import check_config
from train.settings.config import PretrainConfig
from train.settings.faults import Rows, faults
from train.settings.fit import changes, fitted
from train.settings.recipes import RECIPES, recipe


def made(name: str, **sections: dict[str, Any]) -> PretrainConfig:
    config = replace(recipe(name), data=("a",), output=Path("run"))
    return replace(config, **{each: replace(getattr(config, each), **fields) for each, fields in sections.items()})


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_fits_any_number_of_images(name: str) -> None:
    """From 16 images a process on; and what fits is left alone."""
    config = made(name)
    for num, world_size in ((16, 1), (20, 1), (300, 1), (30_000, 1), (300, 2), (128, 8), (1000, 8)):
        rows = Rows(num=num, largest_side=64)
        found = fitted(config, world_size=world_size, rows=rows)
        assert not [*faults(found, world_size=world_size, rows=rows)]
        assert fitted(found, world_size=world_size, rows=rows) == found
        assert (found == config) == (not [*faults(config, world_size=world_size, rows=rows)])


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (made("small_resnet18"), {"method.queue_size": "256"}),
        (
            made("moco_cxr_resnet18"),
            {"method.queue_size": "256", "views.size": "64"},
        ),
        (made("small_resnet18", run={"batch_size": 512}), {"method.queue_size": "256", "run.batch_size": "32"}),
        (made("moco_v2plus_resnet18"), {"method.queue_size": "256", "run.batch_size": "16", "views.size": "64"}),
        (made("byol_resnet18", run={"epochs": 5}), {"schedule.warmup_epochs": "0.5", "views.size": "64"}),
        (
            made("moco_cxr_resnet18", views={"size": 64}, method={"queue_size": 256}, run={"epochs": 10}),
            {"schedule.milestones": "6.0 9.0"},
        ),
        (made("debug", norm={"keep_statistics": True}), {"norm.keep_statistics": "False"}),
        (made("debug", run={"batch_size": 30}), {"norm.num_groups": "3"}),
        (made("debug", run={"batch_size": 31}), {"norm.num_groups": "3", "run.batch_size": "30"}),
        (made("debug", method={"queue_size": 10}), {"method.queue_size": "16"}),
        (made("debug", run={"gradient_accumulation": 99}), {"run.gradient_accumulation": "18"}),
        (made("debug", norm={"strategy": "plain"}), {"norm.strategy": "auto"}),
        (made("debug", norm={"strategy": "shuffle"}), {"norm.strategy": "auto"}),
        (made("debug", norm={"strategy": "group", "num_groups": 8}), {"norm.num_groups": "4"}),
        (made("debug", schedule={"final_lr": 1.0}), {"schedule.final_lr": "0.0"}),
        (made("debug", method={"momentum_end": 0.9}), {"method.momentum_end": "0.95"}),
        (made("debug", method={"predictor_hidden": 7}), {"method.predictor_hidden": "4096"}),
        (made("debug", optimizer={"name": "lars"}, run={"zero_stage": 1}), {"run.zero_stage": "0"}),
        (made("debug", encoder={"name": "vit_small"}, views={"size": 72}), {"views.size": "64"}),
        (
            made("dino_multicrop_resnet18"),
            {"views.size": "64", "views.small_size": "27"},
        ),
        (made("debug", views={"small_crops": 3}), {"views.small_crops": "0"}),
    ],
)
def test_what_is_changed_on_300_images_of_64_pixels(config: PretrainConfig, wanted: dict[str, str]) -> None:
    rows = Rows(num=300, largest_side=64)
    found = fitted(config, world_size=1, rows=rows)
    changed = changes(config, found)
    assert (wanted.items() <= changed.items()) if config.recipe == "moco_cxr_resnet18" else (changed == wanted)
    check_config(found, world_size=1, rows=rows)


def test_without_rows_only_what_settings_say_themselves() -> None:
    config = made("small_resnet18", run={"batch_size": 2048})
    assert changes(config, fitted(config, world_size=1)) == {"method.queue_size": "2048"}
