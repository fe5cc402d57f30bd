"""Images as encoders see them, small and inside the page: gray views, and views under a map of where the encoder looks.

Legend: B images, H W pixels.
"""

import base64
import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.in_order import outputs_in_order
from pipeline.views import ViewSpec
from shards.index import ShardIndex

Pixels = npt.NDArray[np.uint8]
_QUALITY = 82
# Hues that stay apart for colour-blind eyes.
_FOR, _AGAINST = np.array([235.0, 95.0, 20.0]), np.array([40.0, 120.0, 235.0])


def load_views(index: ShardIndex, spec: ViewSpec) -> Tensor:
    """The evaluation views (B, 1, H, W) of the selected images, in the order of the selection.

    Raises:
        InputError: no image, or a damaged one.
    """
    return outputs_in_order(nn.Identity(), index, spec).values


def gray(views: Tensor, spec: ViewSpec) -> Pixels:
    """Views (B, 1, H, W) with the normalisation undone, (B, H, W)."""
    values = 255.0 * (spec.std * views[:, 0].float() + spec.mean)
    return values.clamp(0, 255).round().to(torch.uint8).cpu().numpy()


def overlay(pixels: Pixels, heat: npt.NDArray[np.float32]) -> Pixels:
    """An image (H, W) under a map (H, W) from -1 to 1, as colours (H, W, 3): orange where positive, blue where
    negative, and the stronger, the more the map covers."""
    color = np.where(heat[..., None] > 0, _FOR, _AGAINST)
    cover = 0.65 * np.abs(heat)[..., None]
    return np.rint((1 - cover) * pixels[..., None] + cover * color).astype(np.uint8)


def data_uri(pixels: Pixels, *, side: int) -> str:
    """An image (H, W) or (H, W, 3) as a JPEG of at most ``side`` pixels, in the text of the page."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
