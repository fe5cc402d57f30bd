"""Image tokens: an encoder's last map before pooling, averaged over the cells of a grid, or its pooled feature.

Those of frozen encoders are kept on disk, each image's computed once whatever the selection it is asked for in:

    FOLDER/tokens-ENCODER-VIEWS-GRID/    NAME.images.npy (n,) uint64, NAME.tokens.npy (n, N, F) float16

Every call adds the images that were missing as more such pairs. Half precision is off by less than 0.05 % of the
spread (RMS); where it would overflow, single precision is kept.

Legend: K images of a selection, B of a batch, H W pixels, h w places of the last map, N tokens, F features.
"""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.study.features import encoder_hash, extract_features, views_hash
from pipeline.options import EngineName
from pipeline.views import ViewSpec
from shards.base.atomic import atomic_file
from shards.base.errors import InputError
from shards.base.locks import Lock
from shards.base.stored import read_array
from shards.index import ShardIndex
from train.encoders.memory_format import in_fastest_format
from train.encoders.places import last_map

ImageTokens = npt.NDArray[np.float16] | npt.NDArray[np.float32]
_BLOCK = 8192  # images computed before they are written


def stored_tokens(
    folder: Path,
    encoder: nn.Module,
    index: ShardIndex,
    views: ViewSpec,
    *,
    grid: int,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    engine: EngineName = "auto",
    description: str = "image tokens",
) -> ImageTokens:
    """Tokens (K, N, F) in the order of ``index.rows``.

    Raises:
        InputError: some are not finite, or the encoder has no map of such a grid.
    """
    store = folder / f"tokens-{encoder_hash(encoder)}-{views_hash(views, engine, device)}-{grid}"
    names = _image_names(index)
    store.mkdir(parents=True, exist_ok=True)
    with Lock(store.with_suffix(".lock")).hold():
        missing = np.flatnonzero(~np.isin(names, _known(store)))
        for start in range(0, len(missing), _BLOCK):
            block = missing[start : start + _BLOCK]
            made = extract_features(
                TokenEncoder(encoder, grid),
                index.take(block),
                views,
                batch_size=batch_size,
                device=device,
                engine=engine,
                description=description,
            )
            _write(store, names[block], made)
    return _gather(store, names)


def _image_names(index: ShardIndex) -> npt.NDArray[np.uint64]:
    """A number for each image by its dataset, key and content."""
    table = index.table
    lines = zip(*(table[name].to_pylist() for name in ("dataset", "key", "crc32")), strict=True)
    digests = [hashlib.blake2b(repr(line).encode(), digest_size=8).digest() for line in lines]
    return np.array([int.from_bytes(each, "little") for each in digests], dtype=np.uint64)


def _known(store: Path) -> npt.NDArray[np.uint64]:
    parts = [images for images, _ in _parts(store)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _parts(store: Path) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.floating]]]:
    """Names of images with their tokens; what is damaged is passed over, and computed anew."""
    for path in sorted(store.glob("*.images.npy")):
        try:
            images = read_array(path)
            tokens = read_array(path.with_name(path.name.replace(".images", ".tokens")), mmap_mode="r")
        except InputError:
            continue
        if images.ndim == 1 and images.dtype == np.uint64 and tokens.ndim == 3 and 0 < len(images) == len(tokens):
            yield images, tokens


def _write(store: Path, names: npt.NDArray[np.uint64], tokens: npt.NDArray[np.float32]) -> None:
    largest = float(np.abs(tokens).max(initial=0.0))
    kind = np.float16 if largest < float(np.finfo(np.float16).max) else np.float32
    name = uuid.uuid4().hex[:12]
    with atomic_file(store / f"{name}.tokens.npy") as file:
        np.save(file, tokens.astype(kind))
    with atomic_file(store / f"{name}.images.npy") as file:  # behind the tokens: it is what is looked for
        np.save(file, names)


def _gather(store: Path, names: npt.NDArray[np.uint64]) -> ImageTokens:
    found: ImageTokens | None = None
    for images, tokens in _parts(store):
        order = np.argsort(images, kind="stable")
        places = order[np.searchsorted(images, names, sorter=order) % len(images)]
        is_here = images[places] == names
        if found is None:
            found = np.empty((len(names), *tokens.shape[1:]), dtype=tokens.dtype)
        elif tokens.dtype == np.float32 and is_here.any():
            found = found.astype(np.float32, copy=False)
        found[is_here] = tokens[places[is_here]]
    assert found is not None, "the selection has images, and all of them were computed"
    return found


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
        images = in_fastest_format(images, self.encoder)
        if self.grid == 1:
            pooled: Tensor = self.encoder(images)
            return pooled[:, None]
        places = last_map(self.encoder, images)
        if places is None:
            raise InputError(
                f"multimodal.image_tokens {self.grid**2}: the encoder has no map as wide as its features; give 1"
            )
        if min(places.shape[2:]) < self.grid:
            side = min(places.shape[2:])
            raise InputError(
                f"multimodal.image_tokens {self.grid**2}: the encoder's last map has {places.shape[2]} x "
                f"{places.shape[3]} places; give at most {side * side}, or larger views"
            )
        return F.adaptive_avg_pool2d(places, self.grid).flatten(2).transpose(1, 2)
