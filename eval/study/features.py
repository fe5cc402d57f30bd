"""Frozen features of images: the encoder in evaluation mode over deterministic views, kept on disk between calls.

Legend: N rows of the selection, F features.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.device import find_device
from pipeline.engines.choice import made_by
from pipeline.in_order import outputs_in_order
from pipeline.options import EngineName
from pipeline.views import ViewSpec
from shards.base.atomic import atomic_file
from shards.base.errors import InputError
from shards.base.stored import read_array
from shards.index import ShardIndex
from train.encoders.memory_format import in_fastest_format
from train.engine.memory import keep_freed_memory
from train.engine.precision import set_tf32

Features = npt.NDArray[np.float32]


class _InFastestFormat(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder(in_fastest_format(images, self.encoder))
        return features


def extract_features(
    encoder: nn.Module,
    index: ShardIndex,
    views: ViewSpec,
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    engine: EngineName = "auto",
    description: str = "features",
) -> Features:
    """Features (N, F) float32 in the order of ``index.rows``, computed in full precision, on GPUs too;
    (N, ..., F) of an encoder that gives several an image.

    The encoder is in evaluation mode meanwhile, so a feature does not depend on its batch.

    Raises:
        InputError: some features are not finite, or the loader refuses the device or batch size.
    """
    keep_freed_memory()
    set_tf32("fp32")
    features: Features = outputs_in_order(
        _InFastestFormat(encoder),
        index,
        views,
        batch_size=batch_size,
        device=device,
        engine=engine,
        description=description,
    ).values.numpy()
    num_bad = int((~np.isfinite(features.reshape(len(index), -1)).all(axis=1)).sum())
    if num_bad:
        raise InputError(
            f"encoder: the features of {num_bad} of {len(index)} images are not finite; "
            "its training diverged, so use an earlier checkpoint or a lower learning rate"
        )
    return features


def cached_features(
    folder: Path,
    encoder: nn.Module,
    index: ShardIndex,
    views: ViewSpec,
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    engine: EngineName = "auto",
    description: str = "features",
) -> Features:
    """:func:`extract_features`, read from ``folder`` if this encoder saw these images in this view before."""
    path = folder / f"{encoder_hash(encoder)}-{images_fingerprint(index)}-{views_hash(views, engine, device)}.npy"
    features = _stored_features(path, len(index))
    if features is not None:
        return features
    features = extract_features(
        encoder,
        index,
        views,
        batch_size=batch_size,
        device=device,
        engine=engine,
        description=description,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        np.save(file, features)
    return features


def _stored_features(path: Path, num_images: int) -> Features | None:
    """None where there are none, or where they are damaged: they are computed anew."""
    try:
        features: Features = read_array(path)
    except InputError:
        return None
    is_whole = features.ndim > 1 and features.dtype == np.float32 and len(features) == num_images
    return features if is_whole and np.isfinite(features).all() else None


def encoder_hash(encoder: nn.Module) -> str:
    """16 hexadecimal digits that tell encoders apart by the names, types and values of their state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def images_fingerprint(index: ShardIndex) -> str:
    """16 hexadecimal digits of the selected images: their datasets, keys, contents (CRC32) and order."""
    table = index.table
    digest = hashlib.sha256()
    for name in ("dataset", "key", "crc32"):
        digest.update(json.dumps(table[name].to_pylist()).encode())
    return digest.hexdigest()[:16]


def views_hash(views: ViewSpec, engine: EngineName, device: str | torch.device) -> str:
    """8 hexadecimal digits of what a view's pixels depend on: its parameters, and which engine makes it on what."""
    described = json.dumps([asdict(views.evaluation()), made_by(engine, find_device(device))], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:8]
