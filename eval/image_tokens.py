"""Image tokens: an encoder's last map before pooling, averaged over the cells of a grid, or its pooled feature.

Legend: B images, H W pixels, h w places of the last map, N tokens, F features.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.base.errors import InputError

_RESNET_STAGES = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class TokenEncoder(nn.Module):
    """Images (B, 1, H, W) to tokens (B, grid * grid, F), row by row. A grid of 1 gives the encoder's own pooled
    feature; with average pooling, as in ResNets and DenseNets, that is the mean of any finer grid's tokens."""

    def __init__(self, encoder: Any, grid: int) -> None:
        super().__init__()
        self.encoder, self.grid = encoder, grid

    @property
    def num_features(self) -> int:
        return int(self.encoder.num_features)

    def forward(self, images: Tensor) -> Tensor:
        if self.grid == 1:
            pooled: Tensor = self.encoder(images)
            return pooled[:, None]
        places = last_map(self.encoder, images)
        if min(places.shape[2:]) < self.grid:
            side = min(places.shape[2:])
            raise InputError(
                f"multimodal.image_tokens {self.grid**2}: the encoder's last map has {places.shape[2]} x "
                f"{places.shape[3]} places; give at most {side * side}, or larger views"
            )
        return F.adaptive_avg_pool2d(places, self.grid).flatten(2).transpose(1, 2)


def last_map(encoder: Any, images: Tensor) -> Tensor:
    """The encoder's last map (B, F, h, w), before pooling.

    Raises:
        InputError: an encoder of which it is not known.
    """
    if hasattr(encoder, "layer4"):  # torchvision's ResNets
        for stage in _RESNET_STAGES:
            images = getattr(encoder, stage)(images)
        return images
    if hasattr(encoder, "forward_features"):  # timm's vision transformers
        patches: Tensor = encoder.forward_features(images)[:, encoder.num_prefix_tokens :]  # (B, h w, F)
        height = images.shape[2] // encoder.patch_embed.patch_size[0]
        return patches.transpose(1, 2).unflatten(2, (height, -1))
    if isinstance(getattr(encoder, "features", None), nn.Module):  # torchvision's DenseNets
        return torch.relu(encoder.features(images))
    raise InputError(f"multimodal.image_tokens: no map of a {type(encoder).__name__} is known; give 1")
