"""An encoder with a linear head for all labels at once, and the learning rates of its layers.

Legend: B batch, H W pixels, F features, L labels.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eval.finetune.config import FinetuneConfig
from eval.foreign.contract import OwnInput
from shards.base.errors import InputError
from train.encoders.file import FILES, header_value, load_state, read_tensors, write_tensors
from train.encoders.saved import LoadedEncoder, load_encoder, save_encoder
from train.engine.optimizers import grouped

HEAD_FILE = "head.safetensors"
# Stages of torchvision's ResNets and DenseNets and blocks of transformers; the stem comes before.
_STAGE = re.compile(
    r"(?:layer|features\.(?:denseblock|transition))(\d+)\.|(?:encoder\.|model\.)?(?:blocks|stages|layers|layer)\.(\d+)\."
)


class FinetuneModel(nn.Module):
    """Images (B, 1, H, W) to logits (B, L). The head is fp32 under autocast too: bf16 has three digits, so that many
    images would share a score."""

    def __init__(self, encoder: Any, num_labels: int, *, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(encoder.num_features, num_labels)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(images)
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits


def parameter_groups(model: FinetuneModel, config: FinetuneConfig) -> list[dict[str, Any]]:
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


def save_finetuned(folder: Path, model: FinetuneModel, start: LoadedEncoder, *, labels: tuple[str, ...]) -> None:
    """Writes the encoder as :func:`train.encoders.saved.save_encoder` does, so that whatever takes a run takes the
    folder, and the head beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    norm = start.metadata.get("norm", "batch")
    save_encoder(folder / FILES["query"], model.encoder, name=start.name, views=start.views, norm=norm)
    write_tensors(folder / HEAD_FILE, model.head.state_dict(), {"labels": labels})


def load_finetuned(folder: Path) -> tuple[FinetuneModel, tuple[str, ...], LoadedEncoder]:
    """The model that :func:`save_finetuned` wrote, in evaluation mode, its labels, and its encoder with the views.

    Raises:
        InputError: there is none.
    """
    loaded = load_encoder(folder)
    if not (folder / HEAD_FILE).is_file():
        raise InputError(f"{folder}: has no {HEAD_FILE}; give the folder of a cell that was fine-tuned with keep_model")
    head, header = read_tensors(folder / HEAD_FILE)
    labels = header_value(folder / HEAD_FILE, header, "labels", tuple[str, ...])
    model = FinetuneModel(loaded.encoder, len(labels), seed=0)
    load_state(folder / HEAD_FILE, model.head, head, kind="its labels")
    return model.eval(), labels, loaded
