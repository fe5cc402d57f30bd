"""What is trained of an encoder with a linear head, and the learning rates of its layers."""

import re
from typing import Any

from torch import nn

from eval.classifier.network import ImageClassifier
from eval.finetune.config import FinetuneConfig
from eval.foreign.contract import OwnInput
from train.engine.optimizers import grouped

# Stages of torchvision's ResNets and DenseNets and blocks of transformers; the stem comes before.
_STAGE = re.compile(
    r"(?:layer|features\.(?:denseblock|transition))(\d+)\.|(?:encoder\.|model\.)?(?:blocks|stages|layers|layer)\.(\d+)\."
)


def parameter_groups(model: ImageClassifier, config: FinetuneConfig) -> list[dict[str, Any]]:
    """What is trained, by learning rate and decay: each group's ``factor`` is its share of the head's rate.

    The encoder's last stage has ``encoder_factor``, each earlier one ``layer_decay`` of the next one's, as in ELECTRA
    and BEiT (Bao et al. 2021, arXiv 2106.08254); norms and biases do not decay.
    """
    depths = _depths(model.encoder)

    def settings(name: str, parameter: nn.Parameter) -> dict[str, float]:
        factor = 1.0
        if name.startswith("encoder."):
            below = max(depths.values()) - depths[name.removeprefix("encoder.")]
            factor = config.encoder_factor * config.layer_decay**below
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        return {"factor": factor, "weight_decay": decay, "lr": config.lr * factor}

    return grouped(model.named_parameters(), settings)


def _depths(encoder: Any) -> dict[str, int]:
    """The stage of each parameter, in the order in which images pass them; 0 is the stem."""
    if isinstance(encoder, OwnInput):
        return {f"model.{name}": depth for name, depth in _depths(encoder.model).items()}
    if hasattr(encoder, "group_matcher"):
        from timm.models import group_parameters

        found = group_parameters(encoder, encoder.group_matcher(coarse=True), reverse=True)
        return {name: int(depth) for name, depth in found.items()}
    depths: dict[str, int] = {}
    depth = 0
    for name, _ in encoder.named_parameters():
        found = _STAGE.match(name)
        if found:
            depth = int(found[1]) if found[1] else int(found[2]) + 1
        depths[name] = depth  # a norm behind the last stage belongs to it
    return depths
