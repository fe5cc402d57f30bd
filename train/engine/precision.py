"""What is multiplied in which precision. Parameters, batch norm, queue, loss and momentum update are fp32 always."""

from pathlib import Path
from typing import Literal

import torch

from shards.base.errors import InputError

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
Resolved = Literal["fp32", "tf32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_AMPERE = (8, 0)  # compute capability from which on GPUs have TF32


def resolve_precision(precision: Precision, device: torch.device) -> Resolved:
    """``auto`` is bf16 where the hardware has it and gains by it, else fp16 on GPUs and fp32 on CPUs. It goes by the
    hardware alone, not by a measurement, so that a command gives the same weights when it is repeated.

    Raises:
        InputError: ``tf32``, and the device has none.
    """
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < _AMPERE):
        raise InputError("precision tf32: only GPUs from Ampere (A100, RTX 30) on have it; use fp32, bf16 or auto")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _cpu_gains_by_bf16() else "fp32"


def _cpu_gains_by_bf16() -> bool:
    """By tiles (AMX), and by AVX512-BF16 on AMD's processors (2.0 times for ResNet18). Intel's without tiles have the
    instructions and gain little: 1.05 times for ResNet18, .64 times for networks with depthwise convolutions."""
    if torch.cpu._is_amx_tile_supported():
        return True
    cpuinfo = Path("/proc/cpuinfo")
    is_amd = cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(errors="replace")
    return is_amd and torch.cpu._is_avx512_bf16_supported()


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The autocast that DeepSpeed gives the query, for what does not go through its engine."""
    dtype = DTYPES.get(resolve_precision(precision, device))
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def describe_precision(precision: Resolved, device: torch.device) -> str:
    """Such as ``bf16, without TF32``: on a GPU also what becomes of the fp32 that is not cast."""
    return precision if device.type == "cpu" or precision == "tf32" else f"{precision}, without TF32"


def set_tf32(precision: Precision) -> None:
    """Has this process multiply fp32 on GPUs in TF32 (10 bits of the 23) for ``tf32``, and in full for all others.

    By itself torch convolves in TF32 and multiplies matrices in full. What computes says so anew, with this, before it
    begins: what is built to train, and feature extraction.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
