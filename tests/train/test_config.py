from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards.errors import InputError
from train.config import PretrainConfig, check_config, check_rows, norm_strategy
from train.plain import differing_fields, from_yaml, to_yaml
from train.recipes import RECIPES, recipe

BASE = replace(recipe("debug"), data=("a", "b"), output=Path("run"))


def change(section: str, **fields: Any) -> PretrainConfig:
    return replace(BASE, **{section: replace(getattr(BASE, section), **fields)})


@pytest.mark.parametrize("name", RECIPES)
def test_yaml_round_trip(name: str) -> None:
    config = replace(recipe(name), data=("a",), output=Path("run"))
    assert from_yaml(PretrainConfig, to_yaml(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {epoch: 3}", "run.epoch: no such field; did you mean run.epochs?"),
        ("run: {epochs: many}", "run.epochs 'many': give int"),
        ("run: {epochs: true}", "run.epochs True: give int"),
        ("optimizer: {name: lion}", "optimizer.name 'lion': give adam or adamw or sgd"),
        ("optimizer: {betas: [0.9]}", r"optimizer.betas \[0.9\]"),
        ("run: 3", "run. 3: is no section"),
    ],
)
def test_yaml_refuses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_yaml(PretrainConfig, text)


@pytest.mark.parametrize(
    ("config", "world_size", "message"),
    [
        (replace(BASE, data=()), 1, "--data: not given"),
        (replace(BASE, output=None), 1, "--output: not given"),
        (change("method", momentum=1.0), 1, "method.momentum 1.0"),
        (change("method", temperature=0.0), 1, "method.temperature 0.0"),
        (change("method", queue_size=8), 1, "method.queue_size 8: smaller than the 16 keys"),
        (change("method", queue_size=16), 2, "method.queue_size 16: smaller than the 32 keys"),
        (change("norm", num_groups=3), 1, "norm.num_groups 3: does not split run.batch_size 16"),
        (change("norm", num_groups=16), 1, "norm.num_groups 16"),
        (change("norm", num_groups=1), 1, "norm.num_groups 1: .* would leak"),
        (change("norm", strategy="shuffle"), 1, "norm.strategy shuffle: does nothing with one process"),
        (change("run", zero_stage=3), 1, "run.zero_stage 3: .*momentum encoder"),
        (change("run", zero_stage=4), 1, "run.zero_stage 4"),
        (change("run", epochs=0), 1, "run.epochs 0"),
        (change("selection", fraction=0.0), 1, "selection.fraction 0.0"),
    ],
)
def test_refuses_settings(config: PretrainConfig, world_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_config(config, world_size=world_size)


def test_refuses_what_does_not_fit_the_data() -> None:
    with pytest.raises(InputError, match="method.queue_size 32: larger than the 31 images"):
        check_rows(BASE, num_rows=31, world_size=1)
    with pytest.raises(InputError, match="run.batch_size 16: 32 images a step over 2"):
        check_rows(BASE, num_rows=31, world_size=2)
    check_rows(BASE, num_rows=32, world_size=1)


def test_a_queue_need_not_be_a_multiple_of_the_batch() -> None:
    check_config(change("method", queue_size=33), world_size=1)


def test_auto_norm_splits_alone_and_shuffles_in_company() -> None:
    assert [norm_strategy(BASE, size) for size in (1, 2, 8)] == ["split", "shuffle", "shuffle"]
    check_config(change("norm", num_groups=3), world_size=2)


def test_differing_fields_are_named() -> None:
    assert differing_fields(BASE, change("run", epochs=7, seed=1)) == ["run.epochs", "run.seed"]
    assert differing_fields(BASE, BASE) == []
