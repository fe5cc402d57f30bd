"""What is multiplied in which precision. Parameters, batch norm, queue, loss and momentum update are fp32 always."""

from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """``auto`` is bf16 where the hardware has it (1.8 times the speed on a CPU), else fp16 on GPUs, fp32 on CPUs."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The autocast that DeepSpeed gives the query, for what does not go through its engine."""
    resolved = resolve_precision(precision, device)
    return torch.autocast(device.type, DTYPES.get(resolved, torch.bfloat16), enabled=resolved != "fp32")
