import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from shards.base.errors import InputError
from train.settings.checks import check_config
from train.settings.faults import Rows
from train.settings.methods import METHODS
from train.settings.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_a_config_that_can_run_and_says_how(name: str) -> None:
    config = replace(recipe(name), data=("data",), output=Path("run"))
    check_config(config, world_size=1)
    check_config(config, world_size=2)
    assert config.recipe == name
    assert f"moco-cxr pretrain {name}" in (inspect.getdoc(RECIPES[name]) or "")


def test_the_papers_figures() -> None:
    config = recipe("moco_cxr_resnet18")
    assert (config.method.queue_size, config.method.momentum, config.method.temperature) == (24_576, 0.999, 0.2)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("adam", 1e-4, 1e-4)
    assert (config.run.epochs, config.run.batch_size, config.schedule.milestones) == (20, 16, (12, 18))
    assert (config.views.size, config.views.rotation, config.views.flip) == (320, 10.0, 0.5)
    assert replace(recipe("moco_cxr_densenet121"), recipe="moco_cxr_resnet18", encoder=config.encoder) == config


@pytest.mark.parametrize("name", ["moco_cxr_resnet18", "moco_cxr_densenet121"])
def test_a_random_start_learns_five_times_as_fast(name: str) -> None:
    paper, random = recipe(name), recipe(f"{name}_random")
    assert (paper.encoder.weights, random.encoder.weights) == ("imagenet", "random")
    assert random.optimizer.lr == pytest.approx(5 * paper.optimizer.lr)
    assert replace(random, encoder=paper.encoder, optimizer=paper.optimizer, recipe=name) == paper


def test_each_method_has_a_recipe() -> None:
    assert {recipe(name).method.name for name in RECIPES} == set(METHODS)


@pytest.mark.parametrize(
    "name", [name for name in RECIPES if not name.startswith(("moco_cxr", "small", "tiny", "debug"))]
)
def test_recipes_to_compare_methods_differ_in_the_method_only(name: str) -> None:
    config, first = recipe(name), recipe("moco_v2plus_resnet18")
    views = first.views if "multicrop" in name else config.views
    assert (views, config.selection, config.loader, config.run) == (
        first.views,
        first.selection,
        first.loader,
        first.run,
    )
    assert (config.optimizer.scaling, config.optimizer.base_batch) == ("linear", 256)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_set_nothing_that_their_method_ignores(name: str) -> None:
    config = replace(recipe(name), data=("data",), output=Path("run"), recipe="custom")
    check_config(config, world_size=1)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean moco_cxr_resnet18"):
        recipe("moco_cxr_resnet")


def test_the_recipe_for_a_few_hundred_images_fits_them() -> None:
    """As it is, and with some hundreds of steps."""
    config = replace(recipe("tiny_resnet18"), data=("data",), output=Path("run"))
    for num in (128, 300, 900):
        check_config(config, world_size=1, rows=Rows(num=num, largest_side=64))
        assert 150 < config.run.epochs * (num // config.run.batch_size) < 2000
