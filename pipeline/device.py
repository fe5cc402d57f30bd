"""A device by its name, found once: what is asked for, checked, and with its number."""

import torch

from shards.base.errors import InputError


def find_device(name: str | torch.device, *, field: str = "device") -> torch.device:
    """``cpu``, ``cuda`` (the current one), ``cuda:1``; ``auto`` is a GPU if there is one.

    A GPU always comes with its number, which DeepSpeed, DALI and ``torch.cuda`` ask for.

    Raises:
        InputError: no such name, or no such device here; the message begins with ``field``.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"{field} {name}: must be auto, cpu, cuda, or cuda and a number as in cuda:1") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise InputError(f"{field} {name}: only cpu and cuda are known here")
    if not torch.cuda.is_available():
        raise InputError(f"{field} {name}: no CUDA device here; use cpu")
    number = torch.cuda.current_device() if device.index is None else device.index
    if number >= torch.cuda.device_count():
        raise InputError(f"{field} {name}: this process sees {torch.cuda.device_count()} GPU(s), numbered from 0")
    return torch.device("cuda", number)
