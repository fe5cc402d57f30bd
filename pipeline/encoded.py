"""Evaluation views of encoded images that are in no index, as the loader makes them on a CPU, bit by bit.

Legend: B images, S side of a view.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.engines.samples import decode_gray
from pipeline.engines.warps import make_views, to_pixels
from pipeline.plan import plan_batch
from pipeline.views import ViewSpec


def encoded_views(images: Sequence[bytes | memoryview], spec: ViewSpec) -> Tensor:
    """Views (B, 1, S, S) float32, normalised, of JPEGs and PNGs.

    Raises:
        ValueError: one cannot be decoded.
    """
    pixels = [decode_gray(memoryview(data)) for data in images]
    rows = np.zeros(len(images), dtype=np.int64)
    sizes = np.array([each.shape[::-1] for each in pixels], dtype=np.int64).reshape(-1, 2)
    request = plan_batch(spec.evaluation(), rows=rows, sizes=sizes, passes=rows, seed=0, num_views=1)
    inverses = np.ascontiguousarray(to_pixels(request.matrices).swapaxes(0, 1))  # (B, 1, 2, 3)
    tones = np.ascontiguousarray(request.tones.swapaxes(0, 1))
    out = np.empty((len(images), 1, spec.size, spec.size), dtype=np.float32)
    for number, each in enumerate(pixels):
        make_views(each, inverses[number], out[number], fill=spec.fill, tones=tones[number], sigmas=np.zeros(1))
    return torch.from_numpy(out)
