from pathlib import Path

import pytest
import torch

from tests.train.processes import run_ranks
from train.engine.precision import autocast, resolve_precision

CPU = torch.device("cpu")


def test_what_is_asked_for_is_taken_and_auto_asks_the_hardware() -> None:
    assert resolve_precision("fp16", CPU) == "fp16"
    assert resolve_precision("auto", CPU) in ("fp32", "bf16")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_multiplies_in_the_precision_and_keeps_weights(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(3, 3)
    with autocast(precision, CPU):  # type: ignore[arg-type]
        assert layer(torch.randn(2, 3)).dtype == dtype
    assert layer.weight.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["fp32,0", "bf16,0", "fp16,0"], ["bf16,1", "fp16,2"]])
def test_the_momentum_copy_is_exact_over_1000_steps(settings: list[str]) -> None:
    """Within what fp32 rounds, against a float64 reference that follows the same weights; under DeepSpeed's autocast.
    Settings are precision and ZeRO stage."""
    run_ranks(Path(__file__).parent / "momentum_steps.py", *settings, size=1, timeout=300)
