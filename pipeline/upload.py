"""Host tensors to a device, without the host waiting for it."""

import torch
from torch import Tensor


def upload(host: Tensor, device: torch.device) -> Tensor:
    """A tensor on the CPU, on ``device``. To a GPU it goes by way of pinned memory: a copy from any other may block,
    also where it is told not to. Pinned memory comes from a cache of torch's, which knows which copies still read it.
    """
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)
