"""Features of an encoder's layers: of one in its middle, or of several joined.

Kaku, Upadhya and Razavian ("Intermediate Layers Matter in Momentum Contrastive Self Supervised Learning", 2021)
report a gain by them where labels are few. Layers are the stages that the network itself names
(:mod:`train.encoders.places`), counted from 1. Of each the mean over all places is taken; of the last one, the
encoder's own features.

Legend: B images, H W pixels, F features of all layers joined.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shards.base.errors import InputError
from train.encoders.memory_format import in_fastest_format
from train.encoders.places import as_map, stages


class LayerFeatures(nn.Module):
    """An encoder whose features (B, ``num_features``) are those of ``layers``, in that order. ``modules`` are their
    names in the network.

    Args:
        name: of the encoder, for errors.

    Raises:
        InputError: a layer that the encoder has not, or one that is given twice.
    """

    def __init__(self, encoder: Any, layers: Sequence[int], *, name: str) -> None:
        super().__init__()
        known = stages(encoder)
        words = " ".join(map(str, layers))
        if not known:
            raise InputError(f"features.layers {words}: {name} does not name its layers; leave it away")
        if len(set(layers)) < len(layers):
            raise InputError(f"features.layers {words}: one is given twice")
        if not set(layers) <= set(range(1, len(known) + 1)):
            listed = ", ".join(f"{number} {stage.module}" for number, stage in enumerate(known, 1))
            raise InputError(f"features.layers {words}: {name} has the layers {listed}; give some of these")
        self.encoder = encoder
        self.register_buffer("layers", torch.tensor(layers))  # so that its hash is not the encoder's
        chosen = [known[layer - 1] for layer in layers]
        self._read = [None if stage is known[-1] else stage for stage in chosen]
        self.modules_read = tuple(stage.module for stage in chosen)
        widths = [encoder.num_features if stage is None else stage.num_channels for stage in self._read]
        self.num_features = sum(widths)

    def forward(self, images: Tensor) -> Tensor:
        means: dict[str, Tensor] = {}
        prefix = getattr(self.encoder, "num_prefix_tokens", None)

        def keep(module: str, num_channels: int) -> Callable[..., None]:
            def hook(_: nn.Module, __: tuple[Any, ...], output: object) -> None:
                places = as_map(
                    output[0] if isinstance(output, tuple) else output, num_channels, num_prefix_tokens=prefix
                )
                if places is None:
                    raise InputError(f"features.layers: {module} of the encoder gives no map; give other layers")
                means[module] = places.mean(dim=(2, 3))

            return hook

        hooks = [
            self.encoder.get_submodule(stage.module).register_forward_hook(keep(stage.module, stage.num_channels))
            for stage in self._read
            if stage is not None
        ]
        try:
            own = self.encoder(in_fastest_format(images, self.encoder))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([own if stage is None else means[stage.module] for stage in self._read], dim=1)
