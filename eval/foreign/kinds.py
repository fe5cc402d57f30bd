"""Which words name models of others, and what they are called in tables and files. Free of torch.

timm:NAME               any network of timm with its own published weights, such as timm:resnet50.a1_in1k
hf:NAME, hf:FOLDER      an image model of Hugging Face, such as hf:microsoft/rad-dino or hf:facebook/dinov2-base
hub:USER/NAME           a folder of the Hugging Face hub that moco-cxr or timm has written; hf-hub: is the same
xrv:NAME                a classifier of torchxrayvision, such as xrv:densenet121-res224-all
"""

import re
from dataclasses import dataclass
from pathlib import Path

from shards.base.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``module`` of this folder opens its models; ``wanted`` stands behind the word in a message. ``is_ours``: what it
    opens is one of our own encoders, which can be written and read again."""

    module: str
    wanted: str
    is_ours: bool = False


WORDS = ("random", "imagenet")
"""Starts that are no path, beside those that begin with one of :data:`KINDS`."""
KINDS = {
    "timm": Kind(module="timm_network", wanted="NAME or FOLDER"),
    "hf": Kind(module="huggingface", wanted="NAME or FOLDER"),
    "hub": Kind(module="hub", wanted="USER/NAME"),
    "hf-hub": Kind(module="hub", wanted="USER/NAME"),
    "xrv": Kind(module="xrayvision", wanted="NAME", is_ours=True),
}


def kind_of(source: str) -> Kind | None:
    """The kind of model that a start's source names; None of other sources."""
    word, colon, _ = source.partition(":")
    return KINDS.get(word) if colon else None


def is_foreign(source: str) -> bool:
    """Whether a start's source names a model of others."""
    return kind_of(source) is not None


def title_of(source: str) -> str:
    """What a start is called that is given by its source alone: ``rad-dino`` for ``hf:microsoft/rad-dino``.

    Raises:
        InputError: the source names nothing behind its word.
    """
    if not is_foreign(source):
        name = Path(source).resolve().stem
    elif not (name := source.partition(":")[2].rstrip("/").rpartition("/")[2]):
        raise InputError(f"start {source}: names no model; give {source}{KINDS[source.partition(':')[0]].wanted}")
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name)
