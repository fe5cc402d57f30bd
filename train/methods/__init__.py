"""Self-supervised methods by name. A new method is one file here and one line in ``METHODS``."""

from collections.abc import Callable

from train.config import PretrainConfig
from train.methods.barlow_twins import BarlowTwins
from train.methods.byol import BYOL
from train.methods.contract import Method, TrainingData
from train.methods.moco import MoCo, SymmetricMoCo
from train.methods.moco_v3 import MoCoV3
from train.methods.simsiam import SimSiam
from train.methods.swav import SwAV
from train.world import World

METHODS: dict[str, Callable[[PretrainConfig, World, TrainingData], Method]] = {
    "moco_v2": MoCo,
    "moco_v2plus": SymmetricMoCo,
    "moco_v3": MoCoV3,
    "simsiam": SimSiam,
    "byol": BYOL,
    "barlow_twins": BarlowTwins,
    "swav": SwAV,
}


def build_method(config: PretrainConfig, world: World, data: TrainingData) -> Method:
    """The method that ``config.method.name`` names, on the world's device."""
    return METHODS[config.method.name](config, world, data)
