"""Where and how a benchmark was measured: time, commit, versions, processor, threads, environment."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from shards.base.facts import num_cores, processor, versions

_PACKAGES = (
    "python",
    "torch",
    "torchvision",
    "nvidia-dali-cuda130",
    "kornia",
    "deepspeed",
    "numpy",
    "opencv-python-headless",
    "simplejpeg",
    "pillow",
    "joblib",
    "timm",
    # Optional ones, and what comes with torch on some machines only.
    "triton",
    "kornia-rs",
    "webdataset",
    "lightly",
    "spdl-core",
)
# What changes timings and holds no path. The host's name is nobody's business and is not recorded.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "TORCHINDUCTOR_FREEZING",
    "TORCH_COMPILE_DISABLE",
    "MALLOC_ARENA_MAX",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "NCCL_ALGO",
    "NCCL_PROTO",
    "NCCL_P2P_DISABLE",
)


def describe_machine(device: str) -> dict[str, Any]:
    """What a reader needs to place a figure."""
    return {
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(Path(__file__).parent),
        "versions": versions(_PACKAGES),
        "cpu": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": num_cores(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device == "cuda" else None,
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _commit(folder: Path) -> str | None:
    """The commit, followed by ``+changes`` where files differ from it, apart from results and pages made of them."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return None
    results = [f":(top,exclude){path}" for path in ("benchmarks/results", "docs")]
    return f"{head}+changes" if _git(folder, "status", "--porcelain", "--", ":(top)", *results) else head


def _git(folder: Path, *words: str) -> str:
    """What git prints; nothing, where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=folder)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
