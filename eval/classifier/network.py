"""An encoder with a linear head for all labels at once.

Legend: B batch, H W pixels, F features, L labels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from train.encoders.memory_format import in_fastest_format


class ImageClassifier(nn.Module):
    """Images (B, 1, H, W) to logits (B, L). The head is fp32 under autocast too: bf16 has three digits, so that many
    images would share a score.

    Args:
        seed: of the head; the global random state is left as it was.
    """

    def __init__(self, encoder: Any, num_labels: int, *, seed: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(encoder.num_features, num_labels)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(in_fastest_format(images, self.encoder))
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits
