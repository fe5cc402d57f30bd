"""The encoder in a checkpoint of a run (:mod:`train.run.checkpoint`), finished or not: what ``encoder.safetensors``
would hold, had the run ended there. The running statistics are the leading rank's, as there."""

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from shards.base.errors import InputError
from train.checkpoints.snapshot import BrokenSnapshot, read_mark, read_tensors

Which = Literal["query", "key"]
"""The encoder that was trained, or its momentum copy."""
_PREFIXES: dict[Which, str] = {"query": "model.encoder.", "key": "target.encoder."}
"""Of :class:`train.methods.contract.Method`."""


def read_checkpoint(folder: Path, which: Which) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of the encoder.

    Raises:
        InputError: the checkpoint is damaged or not whole, of something else than pretraining, or of a method without
            momentum copy.
    """
    try:
        mark = read_mark(folder)
        header = mark.get("header")
        if not isinstance(header, dict):
            raise InputError(
                f"encoder {folder}: its complete.json does not say what encoder it holds: it is of fine-tuning, or of "
                "an earlier version; give a checkpoint that pretraining by this version wrote"
            )
        state = _part(folder, "state.pt", "method", mark) | _part(folder, "rank-00000.pt", "buffers", mark)
    except BrokenSnapshot as error:
        raise InputError(f"encoder {folder}: the checkpoint is damaged: {error}; give another one of the run") from None
    prefix = _PREFIXES[which]
    tensors = {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix) and isinstance(value, Tensor)
    }
    if not tensors:
        raise InputError(f"encoder {folder}: the run's method keeps no momentum copy; leave --which away")
    return tensors, header


def _part(folder: Path, file: str, part: str, mark: dict[str, Any]) -> dict[str, Any]:
    content = read_tensors(folder, file, mark)
    found = content.get(part) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        raise BrokenSnapshot(f"{file} holds no {part}")
    return found
