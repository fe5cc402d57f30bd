"""The tensors in a file that ``torch.save`` wrote, whoever wrote it. Never is code in it run.

torch's own unpickler for weights refuses every class that is not on its list. Here a class that is in the way is read
as an empty mapping that keeps its values and does nothing: so the tensors of training frameworks' checkpoints are found
beside their settings, and those of a whole pickled module by the names of its layers.
"""

import argparse
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shards.base.errors import InputError
from shards.base.stored import check_regular
from shards.base.words import reason_of
from train.encoders.foreign import what_file

_MAKE_SCALAR = np.float64(0).__reduce__()[0]
# What checkpoints hold beside tensors and plain values, and none of it runs code: options, and metrics from numpy.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")},
    _MAKE_SCALAR,
    (_MAKE_SCALAR, "numpy.core.multiarray.scalar"),  # its name before numpy 2
]
_PLAIN = {"_codecs", "abc", "argparse", "collections", "copyreg", "datetime", "decimal", "enum", "functools", "logging"}
_PLAIN |= {"pathlib", "types", "typing", "uuid"}
"""Modules of Python whose classes settings are made of; what a file wants of others is refused."""
_MAX_CLASSES = 1000
_CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model")
"""What checkpoints call the state dict in them; the tensors bear names without it, unless two hold different ones."""
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""What data parallelism, compilation, FSDP, recomputation and Lightning's DeepSpeed put into names."""
_DEEPEST = 100
_BLOCKED = re.compile(r"GLOBAL ([\w.]+)")


class _Inert:
    """Stands for a class of a file: makes an empty mapping, whatever it is called with."""

    def __new__(cls, *_: object, **__: object) -> Any:
        return OrderedDict()  # the one type that torch's unpickler gives items as well as attributes


@dataclass(frozen=True, kw_only=True)
class TorchFile:
    """``tensors`` by dotted names, without ``module.`` of parallel training and ``_orig_mod.`` of compilation; ``says``
    of which architecture the file says it is, empty where it says nothing."""

    tensors: dict[str, Tensor]
    says: str


def read_torch_file(path: Path) -> TorchFile:
    """Reads all tensors of a checkpoint, a state dict or a pickled module.

    Raises:
        InputError: it cannot be read, would call functions, or holds no tensors.
    """
    try:
        check_regular(path)
    except InputError as error:
        raise InputError(f"encoder.weights {path}: {error}; give a file of weights") from None
    payload = _read(path)
    named: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _tensors(payload, path=path):
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise InputError(
                f"encoder.weights {path}: {name} is quantised, sparse or without values; give dense weights in "
                "floating point"
            )
        container = next((each for each in _CONTAINERS if name.startswith(f"{each}.") and each in payload), "")
        parts.setdefault(container, {}).setdefault(plain_name(name.removeprefix(f"{container}.")), tensor)
    for container, part in parts.items():
        clashes = any(not _is_same(named.get(name, tensor), tensor) for name, tensor in part.items())
        named |= {f"{container}.{name}": tensor for name, tensor in part.items()} if clashes else part
    if not named:
        held = sorted(map(str, payload))[:5] if isinstance(payload, dict) else type(payload).__name__
        raise InputError(f"encoder.weights {path}: holds no tensors, but {held}; give a file of weights")
    said = payload.get("arch", payload.get("model_name")) if isinstance(payload, dict) else None
    return TorchFile(tensors=named, says=said if isinstance(said, str) else "")


def plain_name(name: str) -> str:
    """A tensor's name without what parallel training, compilation and recomputation put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and one.dtype == other.dtype and bool(torch.equal(one, other)))


def _read(path: Path) -> Any:
    allowed = list(_HARMLESS)
    for _ in range(_MAX_CLASSES):
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises errors of several modules for files that are no checkpoints
            blocked = _BLOCKED.search(str(error))
            if blocked and _is_class_of_a_model(blocked[1]):
                allowed.append((_Inert, blocked[1]))
                continue
            raise InputError(f"encoder.weights {path}: {_why(path, error, blocked)}") from None
    raise InputError(f"encoder.weights {path}: holds more than {_MAX_CLASSES} classes; give a file of weights")


def _is_class_of_a_model(name: str) -> bool:
    """Whether a global is no function of Python's own library; builtins come without their module's name."""
    top, dot, _ = name.partition(".")
    return bool(dot) and (top not in sys.stdlib_module_names or top in _PLAIN)


def _why(path: Path, error: Exception, blocked: re.Match[str] | None) -> str:
    if blocked:  # a function of Python's own or of the system: no class of a model
        return (
            f"holds Python objects ({blocked[1]}) that could run code, and is not opened; if you trust where it is "
            "from, save its weights alone: m = torch.load(FILE, weights_only=False); "
            "torch.save(m if isinstance(m, dict) else m.state_dict(), NEW)"
        )
    if "TorchScript" in str(error):
        return "is a TorchScript program; save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
    if known := what_file(path):
        return known
    if isinstance(error, OSError | RuntimeError | EOFError):
        return f"cannot be read ({reason_of(error).split('. ')[0]}); copy it again"
    return f"is no PyTorch file of weights ({type(error).__name__}); copy it again, or give another"


def _tensors(value: Any, name: str = "", *, path: Path, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested mappings, lists and pickled modules, by their dotted names."""
    if isinstance(value, Tensor):
        yield name, value
    if not isinstance(value, dict | list | tuple) or id(value) in above:  # what holds itself is looked at once
        return
    if len(above) == _DEEPEST:
        raise InputError(f"encoder.weights {path}: nests more than {_DEEPEST} deep; give a file of weights alone")
    parts: dict[Any, Any] = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    for kind in ("_parameters", "_buffers", "_modules"):
        parts |= getattr(value, "__dict__", {}).get(kind) or {}
    for key, part in parts.items():
        yield from _tensors(part, f"{name}.{key}" if name else str(key), path=path, above=(*above, id(value)))
