"""Encoder and projector as one module. Legend: B batch, F features, D embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.sections import MethodConfig


class Embedder(nn.Module):
    """Takes views (B, 1, H, W) to normalised fp32 embeddings (B, D) and to pooled features (B, F).

    The projector is MoCo v2's: Linear, ReLU, Linear; with ``projector_norm`` each Linear is followed by a batch norm,
    the last one without scale and shift, as in MoCo v3. It is thrown away after pretraining.
    """

    def __init__(self, encoder: nn.Module, config: MethodConfig, *, seed: int, channels_last: bool) -> None:
        super().__init__()
        num_features = int(encoder.num_features)  # type: ignore[arg-type]
        hidden = config.projector_hidden or num_features
        self.encoder = encoder
        self.channels_last = channels_last
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first, last = nn.Linear(num_features, hidden), nn.Linear(hidden, config.embedding)
        layers: list[nn.Module] = [first, nn.ReLU(inplace=True), last]
        if config.projector_norm:
            layers = [first, nn.BatchNorm1d(hidden), layers[1], last, nn.BatchNorm1d(config.embedding, affine=False)]
        self.projector = nn.Sequential(*layers)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        if self.channels_last:
            # With one channel both memory formats are the same bytes, and these strides alone make every layer behind
            # go channels-last. Channels-last weights would do so too, but DeepSpeed cannot broadcast or flatten them.
            _, _, height, width = views.shape
            views = views.contiguous().as_strided(views.shape, (height * width, 1, width, 1))
        features = self.encoder(views)  # (B, F)
        return F.normalize(self.projector(features).float(), dim=1), features
