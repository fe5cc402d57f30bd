"""Which kernels torch may choose: the fastest, or those that give the same bits each time."""

import os

import torch


def choose_kernels(*, deterministic: bool) -> None:
    """For this process; to be called before anything is computed on a GPU."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, torch refuses every matrix product
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
