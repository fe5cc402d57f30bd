"""Accumulated, clipped and exchanged gradients under DeepSpeed are those of plain PyTorch."""

from pathlib import Path

import pytest

from tests.train.ranks import run_ranks

SCRIPT = Path(__file__).parent / "engine_steps.py"
# fp32 first: what DeepSpeed's autocast has set up for one engine of a process, the next one keeps.
ALONE = ["0,fp32,lars,2,0.02", "1,fp32,sgd,2,0.02", "2,fp32,adamw,2,0.02", "0,bf16,sgd,1,0.02", "0,fp16,sgd,1,0.02"]
TOGETHER = ["0,fp32,sgd,2,0.02", "1,fp32,sgd,2,0.02", "2,fp32,sgd,2,0.02", "2,bf16,adam,1,0"]
MORE = [f"{stage},{precision},sgd,1,0" for stage in (1, 2) for precision in ("bf16", "fp16")]


@pytest.mark.parametrize(
    ("num_processes", "settings"),
    [
        (1, ALONE),
        pytest.param(2, TOGETHER, marks=pytest.mark.slow),
        pytest.param(1, MORE, marks=pytest.mark.slow),
    ],
)
def test_steps_equal_plain_pytorch(num_processes: int, settings: list[str]) -> None:
    """Settings are ZeRO stage, precision, optimiser, gradient accumulation, gradient clipping."""
    run_ranks(SCRIPT, *settings, size=num_processes)
