"""Image tokens of frozen encoders on disk, each image's computed once whatever the selection it is asked for in.

    FOLDER/tokens-ENCODER-VIEWS-GRID/    NAME.images.npy (n,) uint64, NAME.tokens.npy (n, N, F) float16

Every call adds the images that were missing as more such pairs. Half precision is off by less than 0.05 % of the
spread (RMS); where it would overflow, single precision is kept.

Legend: K images of the selection, N tokens, F features.
"""

import hashlib
import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eval.claims import claimed_in_turn
from eval.features import encoder_hash, extract_features, views_hash
from eval.image_tokens import TokenEncoder
from pipeline.options import EngineName
from pipeline.views import ViewSpec
from shards.base.atomic import written_aside
from shards.index import ShardIndex

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
    store = folder / f"tokens-{encoder_hash(encoder)}-{views_hash(views, engine)}-{grid}"
    names = _image_names(index)
    store.mkdir(parents=True, exist_ok=True)
    with claimed_in_turn(store.with_suffix(".lock")):
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
    parts = [np.load(path, allow_pickle=False) for path in sorted(store.glob("*.images.npy"))]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _write(store: Path, names: npt.NDArray[np.uint64], tokens: npt.NDArray[np.float32]) -> None:
    largest = float(np.abs(tokens).max(initial=0.0))
    kind = np.float16 if largest < float(np.finfo(np.float16).max) else np.float32
    name = uuid.uuid4().hex[:12]
    with written_aside(store / f"{name}.tokens.npy") as file:
        np.save(file, tokens.astype(kind))
    with written_aside(store / f"{name}.images.npy") as file:  # behind the tokens: it is what is looked for
        np.save(file, names)


def _gather(store: Path, names: npt.NDArray[np.uint64]) -> ImageTokens:
    found: ImageTokens | None = None
    for path in sorted(store.glob("*.images.npy")):
        images = np.load(path, allow_pickle=False)
        tokens = np.load(path.with_name(path.name.replace(".images", ".tokens")), mmap_mode="r", allow_pickle=False)
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
