"""Reading ``encoder.safetensors``: the tensors of an encoder, with what they are in the header."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from shards.base.disk import refusal
from shards.base.errors import InputError

FORMAT_VERSION = 1
FILES: dict[Literal["query", "key"], str] = {"query": "encoder.safetensors", "key": "encoder-key.safetensors"}
"""Names in the run folder: the encoder that was trained, and its momentum copy (``run.export_key``)."""


@dataclass(frozen=True, kw_only=True)
class EncoderFile:
    """``tensors`` by name; ``metadata`` is the header, with at least format_version, name, norm and views."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def find_encoder(path: str | Path) -> Path:
    """The file that ``path`` means: itself, or the encoder in a run folder.

    Raises:
        InputError: nothing there, or a run that has not finished.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"encoder {path}: no such file or run folder")
    file = path / FILES["query"] if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"encoder {file}: not there; the run has not finished, repeat its command")
    return file


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of any safetensors file.

    Raises:
        InputError: it is none, or cannot be read.
    """
    try:
        file.open("rb").close()  # of a file that may not be read, safetensors says that it is not there
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            return {key: opened.get_tensor(key) for key in opened.keys()}, header  # noqa: SIM118 (is no dictionary)
    except SafetensorError as error:
        raise InputError(f"encoder {file}: is no safetensors file ({error})") from None
    except OSError as error:
        if (said := refusal(error, instead=file)) is None:
            raise
        raise InputError(f"encoder {file}: cannot be read ({said.why}); {said.remedy}") from None


def has_our_header(header: dict[str, str]) -> bool:
    """Whether :func:`train.encoders.saved.save_encoder` wrote it."""
    return {"format_version", "name", "norm", "views"} <= header.keys()


def read_encoder_file(path: str | Path) -> EncoderFile:
    """Reads an encoder file, or that of a run folder.

    Raises:
        InputError: no such file, not one of ours, or another format version.
    """
    file = find_encoder(path)
    tensors, header = read_tensors(file)
    if not has_our_header(header):
        raise InputError(f"encoder {file}: has no moco-cxr header; give a file that train/pretrain.py wrote")
    metadata: dict[str, Any] = {key: json.loads(value) for key, value in header.items() if key != "format"}
    if metadata["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"encoder {file}: format version {metadata['format_version']}, but this version of moco-cxr reads "
            f"{FORMAT_VERSION}; export it again"
        )
    return EncoderFile(path=file, tensors=tensors, metadata=metadata)
