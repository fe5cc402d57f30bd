"""A model of Hugging Face: a folder with ``config.json`` and its weights, as ``save_pretrained`` writes it.

    config.json
    model.safetensors                              or in several files, with model.safetensors.index.json
    pytorch_model.bin                              of older ones, read without running code; or with its index

The folder is read as it is: transformers is not asked to build anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shards.base.errors import InputError
from shards.base.stored import read_json_object

_CONFIG = "config.json"
_FILES = ("model.safetensors", "pytorch_model.bin")


def is_model_folder(path: Path) -> bool:
    """Whether a folder is such a one, and no run of train/pretrain.py."""
    return path.is_dir() and (path / _CONFIG).is_file() and not (path / "config.yaml").exists()


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says.

    Raises:
        InputError: it is no JSON, or no mapping.
    """
    return _mapping(folder / _CONFIG)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except InputError as error:
        raise InputError(f"encoder.weights {path}: {error}; copy it again") from None


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: safetensors where there are such, else PyTorch's.

    Raises:
        InputError: there are none, or an index names one that is not there, or none of this folder.
    """
    for name in _FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = _mapping(index).get("weight_map")
            names = sorted({str(part) for part in parts.values()}) if isinstance(parts, dict) else []
            for part in names:
                if Path(part).name != part or not (folder / part).is_file():
                    raise InputError(
                        f"encoder.weights {index}: names {part}, which is not there; copy all of the folder"
                    )
            if names:
                return [folder / part for part in names]
    raise InputError(
        f"encoder.weights {folder}: has a {_CONFIG}, but neither {' nor '.join(_FILES)}; copy all of the folder"
    )


def check_heads(source: str, config: Mapping[str, Any], encoder: Any, *, name: str) -> None:
    """Refuses a network with other attention heads, which would take the weights and give other features.

    Raises:
        InputError: naming both numbers.
    """
    blocks = getattr(encoder, "blocks", None)
    ours = getattr(getattr(blocks[0], "attn", None), "num_heads", None) if blocks else None
    theirs = config.get("num_attention_heads")
    if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
        raise InputError(
            f"encoder.weights {source}: has {theirs} attention heads, and {name} has {ours}; give another encoder.name"
        )
