"""What every exported file says of its own input, in words and numbers that need no moco-cxr.

    size            side of the square image in pixels
    channels        1 (gray), or 3 equal ones
    range           of pixel values before they are normalised: 0 to 1, so 8-bit levels divided by 255
    mean, std       by which they are: (x - mean) / std, the same in every channel
    crop            center: the largest centred square of the image is scaled to ``size``
    interpolation   bilinear
    stored          JSON: how images were stored before they became views (size, square, format, quality), where known

They stand in the header of safetensors and ONNX files, in ``about.json`` of a ``torch.export`` program, and in
``_metadata[""]`` of a state dict that torch has saved. timm has words of its own for the same (:func:`timm_input`).
"""

import json
from typing import Any

from pipeline.views import ViewSpec


def describe(views: ViewSpec, *, channels: int = 1, stored: Any = None) -> dict[str, str]:
    """The input of a network that was trained on ``views`` of images ``stored`` so, as text by name."""
    return {
        **({"stored": json.dumps(stored)} if stored else {}),
        "size": str(views.size),
        "channels": str(channels),
        "range": "0 1",
        "mean": str(views.mean),
        "std": str(views.std),
        "crop": "center",
        "interpolation": "bilinear",
    }


def timm_input(views: ViewSpec) -> dict[str, Any]:
    """The same as timm's configuration has it: what :func:`timm.data.create_transform` makes of it takes gray images
    (mode L) to views."""
    size = (1, views.size, views.size)
    return {
        "input_size": size,
        "test_input_size": size,
        "mean": (views.mean,),
        "std": (views.std,),
        "crop_pct": 1.0,
        "test_crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bilinear",
    }
