"""Two processes on one CPU: shuffle and unshuffle, equal weights, key encoders and queues, one stop for both."""

from pathlib import Path

import pytest

from tests.train.processes import run_ranks
from train.settings.methods import METHODS

SCRIPT = Path(__file__).parent / "two_ranks.py"


@pytest.mark.parametrize(
    "settings",
    [
        ["shuffle", "stop", "train,shuffle,2,bf16"],
        pytest.param(
            [f"train,{norm},{stage},{precision}" for norm, stage, precision in (
                ("shuffle", 0, "fp32"), ("split", 1, "bf16"), ("group", 2, "fp32"), ("split", 0, "bf16"),
                ("group", 1, "fp32"),
            )],
            marks=pytest.mark.slow,
        ),
        pytest.param([f"equal,{name},{stage}" for name in METHODS for stage in (0, 2)], marks=pytest.mark.slow),
    ],
    ids=["fast", "stages and precisions", "methods"],
)  # fmt: skip
def test_two_ranks_agree(settings: list[str]) -> None:
    """Settings are: train, norm strategy, ZeRO stage, precision; or: equal, method, ZeRO stage."""
    run_ranks(SCRIPT, *settings, timeout=400)
