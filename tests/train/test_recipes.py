import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from shards.errors import InputError
from train.config import check_config
from train.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_a_config_that_can_run_and_says_how(name: str) -> None:
    config = replace(recipe(name), data=("data",), output=Path("run"))
    check_config(config, world_size=1)
    check_config(config, world_size=2)
    assert config.recipe == name
    assert f"train/pretrain.py {name}" in (inspect.getdoc(RECIPES[name]) or "")


def test_the_papers_figures() -> None:
    config = recipe("moco_cxr_resnet18")
    assert (config.method.queue_size, config.method.momentum, config.method.temperature) == (24_576, 0.999, 0.2)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("adam", 1e-4, 1e-4)
    assert (config.run.epochs, config.run.batch_size, config.schedule.milestones) == (20, 16, (12, 18))
    assert (config.views.size, config.views.rotation, config.views.flip) == (320, 10.0, 0.5)
    assert replace(recipe("moco_cxr_densenet121"), recipe="moco_cxr_resnet18", encoder=config.encoder) == config


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean moco_cxr_resnet18"):
        recipe("moco_cxr_resnet")
