"""Reading ``encoder.safetensors``: the tensors of an encoder, with what they are in the header."""

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pipeline.views import ViewSpec
from shards.base.bounds import Width
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import check_regular, parse_json
from shards.base.words import reason_of
from train.settings.architectures import ENCODERS

FORMAT_VERSION = 1
if TYPE_CHECKING:
    EncoderName = str
else:
    EncoderName = Literal[tuple(ENCODERS)]
FILES: dict[Literal["query", "key"], str] = {"query": "encoder.safetensors", "key": "encoder-key.safetensors"}
"""Names in the run folder: the encoder that was trained, and its momentum copy (``run.export_key``)."""


@dataclass(frozen=True, kw_only=True)
class EncoderFile:
    """``tensors`` by name; ``metadata`` is the header, with at least format_version, name, norm and views."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is read of the header."""

    name: EncoderName
    norm: Literal["batch", "group"]
    views: ViewSpec
    num_features: Width
    trained_on: dict[str, list[str]] = field(default_factory=dict)


def find_encoder(path: str | Path) -> Path:
    """The file that ``path`` means: itself, or the encoder in a run folder.

    Raises:
        InputError: nothing there, or a run that has not finished.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"encoder {path}: no such file or run folder; check the path")
    file = path / FILES["query"] if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"encoder {file}: not there; the run has not finished, repeat its command")
    return file


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of any safetensors file.

    Raises:
        InputError: it is none.
    """
    try:
        check_regular(file)
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            return {key: opened.get_tensor(key) for key in opened.keys()}, header  # noqa: SIM118 (is no dictionary)
    except InputError as error:
        raise InputError(f"encoder {file}: {error}; copy it again") from None
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"encoder {file}: is no safetensors file ({reason_of(error)}); copy it again") from None


def header_value(file: Path, header: dict[str, str], name: str, kind: Any) -> Any:
    """A value that JSON holds in the header of a safetensors file.

    Args:
        kind: type that it must be of, such as ``tuple[str, ...]`` or a dataclass.

    Raises:
        InputError: it is absent, or something else.
    """
    try:
        if name not in header:
            raise InputError(f"has no {name}")
        holder = make_dataclass("Header", [(name, kind)])
        return getattr(from_written(holder, {name: parse_json(header[name])}), name)
    except InputError as error:
        raise InputError(f"{file}: its header is damaged: {error}; copy it again, or train it again") from None


def load_state(file: Path, module: nn.Module, tensors: dict[str, Tensor], *, kind: str) -> None:
    """Gives a module, of a ``kind`` in words, the tensors of a file.

    Raises:
        InputError: they do not match key by key.
    """
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise InputError(f"{file}: does not fit {kind}: {shorten(why, 300)}; copy it again") from None


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
    try:
        metadata: dict[str, Any] = {key: parse_json(value) for key, value in header.items() if key != "format"}
        if metadata["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"format version {metadata['format_version']}, but this version of moco-cxr reads {FORMAT_VERSION}; "
                "export it again"
            )
        from_written(_Header, {name: metadata[name] for name in metadata if name in _Header.__dataclass_fields__})
        return EncoderFile(path=file, tensors=tensors, metadata=metadata)
    except InputError as error:
        raise InputError(f"encoder {file}: its header is damaged: {error}; copy it again, or export it again") from None
