"""Where an encoder is among the tensors of a file: the prefix of its names, and what else is there.

Training code wraps an encoder in its own ways (``encoder_q.``, ``backbone.``, ``teacher.backbone.``, a row of numbered
layers), so no list of them is complete. The encoder is under the one prefix where all its names are, in their shapes.
"""

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from train.encoders.starts.adapters import ADAPTERS

# Of several whole copies the one is taken that their code hands on; a checkpoint's describing words, by its prefix.
_KNOWN = {
    "encoder_q.": "MoCo checkpoint (v1, v2 or MoCo-CXR), query encoder",
    "base_encoder.": "MoCo v3 checkpoint, base encoder",
    "momentum_encoder.": "MoCo v3 checkpoint, momentum encoder",
    "method.model.encoder.": "checkpoint of train/pretrain.py",
}
_COPY = re.compile(r"(^|[._])(k|key|m|momentum|ema|swa|shadow|target|student|slow|averaged?)([._]|$)")
"""A copy that others are preferred to. DINO hands on its teacher (Caron et al. 2021, arXiv 2104.14294)."""
_OF_TRAINING = ("mask_token",)
"""What stands for hidden patches in training, and is not used otherwise."""
_TOKENS = ("reg_token", "dist_token", "register_tokens")
"""Tokens of vision transformers beside the class token: without them other features come out."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``names`` of the file by the encoder's own, as far as they are there, several where they are to be joined;
    ``surplus`` are the file's names that would belong to the encoder, were it another one; ``head`` is on top of the
    encoder, ``beside`` no part of its model."""

    format: str
    names: dict[str, tuple[str, ...]]
    surplus: tuple[str, ...]
    head: tuple[str, ...]
    beside: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    """Prefixes of other encoders that are as good by their names, and not the same."""


def find_layout(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, stems: Collection[str], heads: Collection[str] = ()
) -> Layout:
    """The layout under which most of the encoder's tensors are found in their shapes; the first of equals, which
    names the others.

    Args:
        tensors: of the file.
        wanted: the encoder's state.
        stems: the weights of the encoder's first convolutions, which may be of colour in the file.
        heads: what classifiers are called, which may lie among the encoder's own layers (``head.fc`` beside
            ``head.norm``).
    """
    found: list[tuple[tuple[int, int, int], str, Layout]] = []
    for what, names in _different(wanted).items():
        for prefix in dict.fromkeys(_prefixes(tensors, names)):
            layout = _layout(tensors, names, prefix, what, heads)
            num_fitting = sum(
                _shape(tensors, several) == wanted[key].shape or key in stems
                for key, several in layout.names.items()
                if not key.endswith(".num_batches_tracked")
            )
            rank = (num_fitting, -bool(_COPY.search(prefix)), -len(layout.surplus))
            found.append((rank, prefix, layout))
    if not found:
        return Layout(format="state dict", names={}, surplus=tuple(tensors), head=(), beside=())
    first = max(rank for rank, _, _ in found)
    best, *others = ((prefix, layout) for rank, prefix, layout in found if rank == first)
    rivals = (prefix for prefix, layout in others if not _are_same(tensors, best[1], layout))
    return replace(best[1], rivals=tuple(dict.fromkeys(rivals)))


def _are_same(tensors: Mapping[str, Tensor], one: Layout, other: Layout) -> bool:
    """Such as the parts of a model that is there under two names."""
    both = [(names, other.names[key]) for key, names in one.names.items() if key in other.names]
    if any(len(names) != len(others) for names, others in both):
        return False
    pairs = ((tensors[a], tensors[b]) for names, others in both for a, b in zip(names, others, strict=True))
    return all(a is b or (a.shape == b.shape and torch.equal(a, b)) for a, b in pairs)


def _different(wanted: Mapping[str, Tensor]) -> dict[str, dict[str, tuple[str, ...]]]:
    """What adapters make of an encoder's names, without those that make nothing of them."""
    all_names = {what: adapter(wanted) for what, adapter in ADAPTERS.items()}
    plain = all_names[""]
    return {what: names for what, names in all_names.items() if what == "" or names != plain}


def joined(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """The tensor of these names, one behind the other along its first dimension."""
    return tensors[names[0]] if len(names) == 1 else torch.cat([tensors[name] for name in names])


def _shape(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[int, ...]:
    shape = tensors[names[0]].shape
    return tuple(shape) if len(names) == 1 else (sum(tensors[name].shape[0] for name in names), *shape[1:])


def _prefixes(tensors: Mapping[str, Tensor], names: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What stands before one of the encoder's names; the names at its ends are telling enough."""
    ends = [several[0] for key, several in names.items() if key.endswith("weight")]
    return [
        found.removesuffix(name)
        for name in dict.fromkeys([ends[0], ends[-1]])
        for found in tensors
        if found == name or found.endswith(f".{name}")
    ] or [""]


def _layout(
    tensors: Mapping[str, Tensor],
    names: Mapping[str, tuple[str, ...]],
    prefix: str,
    what: str,
    heads: Collection[str],
) -> Layout:
    prefixed = {key: tuple(f"{prefix}{name}" for name in several) for key, several in names.items()}
    inside = [name for name in tensors if name.startswith(prefix)]
    own = set(itertools.chain.from_iterable(prefixed.values()))
    tops = {several[0].partition(".")[0] for several in names.values()} | set(_TOKENS)
    others = [name for name in inside if name not in own]
    tops_of_heads = tuple(f"{prefix}{head}." for head in heads)
    surplus = tuple(
        name
        for name in others
        if name.removeprefix(prefix).partition(".")[0] in tops
        and not name.startswith(tops_of_heads)
        and not name.endswith(_OF_TRAINING)
    )
    format = next((words for start, words in _KNOWN.items() if start == prefix), "")
    return Layout(
        format=format or f"state dict{f' under {prefix}' if prefix else ''}{what}",
        names={key: several for key, several in prefixed.items() if all(name in tensors for name in several)},
        surplus=surplus,
        head=tuple(name.removeprefix(prefix) for name in others if name not in surplus),
        beside=tuple(name for name in tensors if name not in set(inside)),
    )
