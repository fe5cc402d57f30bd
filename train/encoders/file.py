"""What train/pretrain.py leaves: the tensors of an encoder, with what they are, in ``encoder.safetensors`` with a
digest of all, or in a checkpoint."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pipeline.views import ViewSpec
from shards.base.atomic import atomic_write
from shards.base.bounds import Count, Width
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import check_regular, parse_json
from shards.base.words import nearest_path, reason_of
from train.checkpoints.place import FOLDER, find_checkpoint, step_folders
from train.encoders.checkpoint import Which, read_checkpoint
from train.encoders.foreign import what_folder
from train.encoders.seen import FILE as SEEN
from train.encoders.starts.huggingface import is_model_folder
from train.settings.architectures import check_name

FORMAT_VERSION = 1
_DIGEST = "moco_cxr_digest"
FILES: dict[Which, str] = {"query": "encoder.safetensors", "key": "encoder-key.safetensors"}
"""Names in the run folder: the encoder that was trained, and its momentum copy (``run.export_key``)."""
HUB_FILE = "model.safetensors"
"""Its name in a folder for the Hugging Face hub (:mod:`train.export.hub_folder`), where timm looks for it."""


@dataclass(frozen=True, kw_only=True)
class EncoderFile:
    """``tensors`` by name; ``metadata`` is the header, with at least format_version, name, norm and views. ``path`` is
    the file, or a checkpoint's folder."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What :func:`train.encoders.seen.save_seen` gave."""

    sha256: str
    trained_on: dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is read of the header."""

    name: str
    norm: Literal["batch", "group"]
    views: ViewSpec
    num_features: Width
    trained_on: dict[str, list[str]] = field(default_factory=dict)
    seen: _Seen | None = None
    step: Count | None = None


def find_encoder(path: str | Path, which: Which = "query") -> Path:
    """What ``path`` means: a file itself, the encoder's in a run folder, or the folder of a checkpoint.

    Raises:
        InputError: nothing there, or a run that has not finished, or has left no momentum copy.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"encoder {path}: no such file or run folder; check the path.{nearest_path(path)}")
    checkpoint = find_checkpoint(path)
    if checkpoint is not None:
        return checkpoint
    if not path.is_dir():
        if which == "key":
            raise InputError(f"--which key: {path} is one encoder alone; give the run folder, or leave --which away")
        return path
    file = path / FILES[which]
    if file.is_file():
        return file
    if which == "query" and _is_for_hub(path):
        return path / HUB_FILE
    newest = next(iter([*step_folders(path / FOLDER), *step_folders(path)]), None)
    if which == "key" and (path / FILES["query"]).is_file():
        raise InputError(
            f"--which key: {file} is not there; where the method keeps a momentum copy, its checkpoints have it, and "
            "the run's command with --run.export_key writes it"
        )
    if newest is None and not (path / "config.yaml").exists() and (known := what_folder(path)):
        raise InputError(f"encoder {path}: {known}")
    or_else = f", or give a checkpoint, such as {newest}" if newest else ""
    if newest is None and not (path / "config.yaml").exists():
        raise InputError(
            f"encoder {file}: not there, nor config.yaml of a run, nor config.json of a Hugging Face model; give a run "
            "that has not finished its command again, or another folder"
        )
    raise InputError(f"encoder {file}: not there; the run has not finished, repeat its command{or_else}")


def is_ours(path: str | Path) -> bool:
    """Whether train/pretrain.py left what ``path`` means (a file, run folder or checkpoint), which then says itself
    what it is. ``random`` and ``imagenet`` are words, whatever files there are.

    Raises:
        InputError: a folder of neither, or a damaged file.
    """
    if str(path) in ("random", "imagenet") or not Path(path).exists():
        return False
    if is_model_folder(Path(path)):
        return _is_for_hub(Path(path))
    found = find_encoder(path)
    if found.is_dir():
        return True
    return found.suffix == ".safetensors" and has_our_header(_read(found, tensors=False)[1])


def _is_for_hub(folder: Path) -> bool:
    """An exported encoder, or a classifier, which has it in a file of its own."""
    files = [file for file in (folder / FILES["query"], folder / HUB_FILE) if file.is_file()]
    return bool(files) and not (folder / "config.yaml").exists() and has_our_header(_read(files[0], tensors=False)[1])


def is_kept(path: Path) -> bool:
    """Whether a file is, or would become, one that a run is read from again: an encoder of train/pretrain.py, one of
    the names that a run folder has for them and for what they saw, or anything in a checkpoint."""
    path = path.resolve()
    if find_checkpoint(path.parent) is not None:
        return True
    if path.name in (*FILES.values(), SEEN) and (path.parent / "config.yaml").exists():
        return True
    try:
        return path.is_file() and is_ours(path)
    except InputError:
        return False


def write_tensors(file: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Writes a safetensors file that :func:`read_tensors` knows to be as it was written, and returns the digest by
    which it does.

    Args:
        header: values that JSON can hold.
    """
    own = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    said = {name: json.dumps(value, sort_keys=True) for name, value in header.items()}
    digest = _digest(own, said)
    atomic_write(file, safetensors.torch.save(own, {**said, _DIGEST: json.dumps(digest)}))
    return digest


def stored_digest(file: Path) -> str:
    """The digest that :func:`write_tensors` returned, as the file has it, whose tensors are not read; empty where there
    is no such file."""
    try:
        check_regular(file)
        with safe_open(file, framework="pt") as opened:
            return str(parse_json((opened.metadata() or {}).get(_DIGEST, '""')))
    except (InputError, SafetensorError, OSError):
        return ""


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of any safetensors file. What :func:`write_tensors` wrote must be as it was; earlier versions
    wrote no digest.

    Raises:
        InputError: it is none, or was changed since it was written.
    """
    return _read(file, tensors=True)


def _read(file: Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        check_regular(file)
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            found = {name: opened.get_tensor(name) for name in (opened.keys() if tensors else ())}
        if tensors and _DIGEST in header and header[_DIGEST] != json.dumps(_digest(found, header)):
            raise InputError("was changed since it was written")
        return found, {name: value for name, value in header.items() if name != _DIGEST}
    except InputError as error:
        raise InputError(f"encoder {file}: {error}; copy it again") from None
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"encoder {file}: is no safetensors file ({reason_of(error)}); copy it again") from None


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    found = hashlib.sha256(json.dumps(sorted(item for item in header.items() if item[0] != _DIGEST)).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


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


def has_our_header(header: Mapping[str, Any]) -> bool:
    """Whether :func:`train.encoders.saved.save_encoder` wrote it."""
    return {"format_version", "name", "norm", "views"} <= header.keys()


def read_encoder_file(path: str | Path, which: Which = "query") -> EncoderFile:
    """Reads an encoder file, that of a run folder, or the encoder in a checkpoint.

    Raises:
        InputError: no such file, not one of ours, damaged, or another format version.
    """
    file = find_encoder(path, which)
    tensors, header = read_checkpoint(file, which) if file.is_dir() else read_tensors(file)
    if not has_our_header(header):
        raise InputError(f"encoder {file}: has no moco-cxr header; give one that pretraining wrote")
    try:
        metadata = header if file.is_dir() else {name: parse_json(header[name]) for name in header if name != "format"}
        if metadata["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"format version {metadata['format_version']}, but this version of moco-cxr reads {FORMAT_VERSION}; "
                "export it again"
            )
        known = {name: metadata[name] for name in metadata if name in _Header.__dataclass_fields__}
        check_name(from_written(_Header, known).name, "name")
        return EncoderFile(path=file, tensors=tensors, metadata=metadata)
    except InputError as error:
        raise InputError(f"encoder {file}: its header is damaged: {error}; copy it again, or export it again") from None
