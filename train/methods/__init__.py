"""Self-supervised methods by name. A new method is one file in this package and one entry in ``METHODS``.

Free of torch, so that the command line's help comes at once.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.config import PretrainConfig
    from train.methods.contract import Method, TrainingData
    from train.world import World


@dataclass(frozen=True)
class Entry:
    """``module`` of this package and the ``kind`` in it, made with (config, world, data); ``reads`` names the fields of
    ``MethodConfig`` that it reads besides ``embedding`` and ``projector_hidden``: any other is refused."""

    module: str
    kind: str
    reads: tuple[str, ...] = ()

    @property
    def has_queue(self) -> bool:
        """Whether negatives come from a queue of past keys."""
        return "queue_size" in self.reads

    @property
    def has_target(self) -> bool:
        """Whether a momentum copy is kept."""
        return "momentum" in self.reads


_MOCO = ("momentum", "momentum_end", "temperature", "queue_size", "mask_same_patient", "projector_norm")
METHODS = {
    "moco_v2": Entry("moco", "MoCo", _MOCO),
    "moco_v2plus": Entry("moco", "SymmetricMoCo", _MOCO),
    "moco_v3": Entry("moco_v3", "MoCoV3", ("momentum", "momentum_end", "temperature", "predictor_hidden")),
    "simsiam": Entry("simsiam", "SimSiam", ("predictor_hidden",)),
    "byol": Entry("byol", "BYOL", ("momentum", "momentum_end", "predictor_hidden")),
    "barlow_twins": Entry("barlow_twins", "BarlowTwins", ("redundancy",)),
    "swav": Entry("swav", "SwAV", ("temperature", "num_prototypes", "sinkhorn_iterations", "sinkhorn_epsilon")),
}


def build_method(config: "PretrainConfig", world: "World", data: "TrainingData") -> "Method":
    """The method that ``config.method.name`` names, on the world's device."""
    entry = METHODS[config.method.name]
    kind: Any = getattr(import_module(f"train.methods.{entry.module}"), entry.kind)
    method: Method = kind(config, world, data)
    return method
