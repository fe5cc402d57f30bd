"""A method by its name in the settings."""

from importlib import import_module
from typing import Any

from train.methods.contract import Method, TrainingData
from train.ranks.world import World
from train.settings.config import PretrainConfig
from train.settings.methods import METHODS


def build_method(config: PretrainConfig, world: World, data: TrainingData) -> Method:
    """The method that ``config.method.name`` names, on the world's device."""
    entry = METHODS[config.method.name]
    kind: Any = getattr(import_module(f"train.methods.{entry.module}"), entry.kind)
    method: Method = kind(config, world, data)
    return method
