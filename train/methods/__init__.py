"""Self-supervised methods by name. A new method is one file here and one line in ``METHODS``."""

from collections.abc import Callable

from train.config import PretrainConfig
from train.methods.contract import Method
from train.methods.moco import MoCo
from train.world import World

METHODS: dict[str, Callable[..., Method]] = {"moco_v2": MoCo}


def build_method(config: PretrainConfig, world: World) -> Method:
    """The method that ``config.method.name`` names, on the world's device."""
    return METHODS[config.method.name](config, world)
