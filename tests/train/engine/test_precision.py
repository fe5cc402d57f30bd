from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from eval.study.features import extract_features
from eval.training.engine import build_engine
from pipeline.views import PRESETS
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.train.processes import run_ranks
from train.engine.precision import autocast, describe_precision, resolve_precision, set_tf32
from train.ranks.world import World
from train.settings.config import PretrainConfig, RunConfig
from train.trainer import start_trainer

CPU = torch.device("cpu")


def test_what_is_asked_for_is_taken_and_auto_asks_the_hardware() -> None:
    assert resolve_precision("fp16", CPU) == "fp16"


@pytest.mark.parametrize(
    ("vendor", "has_avx512_bf16", "has_tiles", "taken"),
    [
        ("GenuineIntel", True, False, "fp32"),
        ("GenuineIntel", True, True, "bf16"),
        ("AuthenticAMD", True, False, "bf16"),
        ("AuthenticAMD", False, False, "fp32"),
        (None, True, False, "fp32"),
    ],
)
def test_auto_is_bf16_where_a_cpu_gains_by_it(
    vendor: str | None, has_avx512_bf16: bool, has_tiles: bool, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles)
    monkeypatch.setattr(Path, "is_file", lambda _: vendor is not None)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"vendor_id\t: {vendor}\n")
    assert resolve_precision("auto", CPU) == taken


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_multiplies_in_the_precision_and_keeps_weights(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(3, 3)
    with autocast(precision, CPU):  # type: ignore[arg-type]
        assert layer(torch.randn(2, 3)).dtype == dtype
    assert layer.weight.dtype == torch.float32


@pytest.fixture
def torchs_own() -> Iterator[None]:
    """The switches as torch comes: convolutions in TF32, matrix products in full."""
    before = flags()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("torchs_own")
@pytest.mark.parametrize(
    ("precision", "is_on"), [("fp32", False), ("bf16", False), ("fp16", False), ("auto", False), ("tf32", True)]
)
def test_fp32_is_fp32_unless_tf32_is_asked_for(precision: Any, is_on: bool) -> None:
    set_tf32(precision)
    assert flags() == (is_on, is_on)


@pytest.mark.usefixtures("torchs_own")
def test_what_trains_and_what_extracts_say_so_before_they_compute(tiny_dataset: Path) -> None:
    world = World(rank=0, size=1, local_rank=0, device=CPU)
    model = nn.Linear(2, 2)
    groups = [{"params": list(model.parameters())}]
    build_engine(model, groups, precision="tf32", clipping=0.0, batch_size=2, world=world)
    assert flags() == (True, True)
    index, seen = ShardIndex.open(tiny_dataset).take(range(2)), []

    class Encoder(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(flags())
            return images.mean(dim=(2, 3))

    extract_features(Encoder(), index, replace(PRESETS["moco_cxr"], size=32))
    assert seen == [(False, False)]


def test_pretraining_says_so_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("train.trainer.set_tf32", said.append)
    monkeypatch.setattr("train.trainer.build_method", lambda *_: said.append("built") or 1 / 0)
    monkeypatch.setattr("train.trainer.TrainingData", lambda index: index)
    world = World(rank=0, size=1, local_rank=0, device=CPU)
    config, index = PretrainConfig(run=RunConfig(precision="fp32")), cast(ShardIndex, None)
    with pytest.raises(ZeroDivisionError):
        start_trainer(config, index, world, batches_per_epoch=1)
    assert said == ["fp32", "built"]


def test_tf32_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="precision tf32: only GPUs from Ampere .* use fp32"):
        resolve_precision("tf32", CPU)
    for capability, has_it in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        if has_it:
            assert resolve_precision("tf32", torch.device("cuda", 0)) == "tf32"
        else:
            with pytest.raises(InputError, match="precision tf32"):
                resolve_precision("tf32", torch.device("cuda", 0))


def test_cards_say_what_becomes_of_fp32_on_a_gpu() -> None:
    gpu = torch.device("cuda", 0)
    assert describe_precision("bf16", gpu) == "bf16, without TF32"
    assert describe_precision("fp32", gpu) == "fp32, without TF32"
    assert describe_precision("tf32", gpu) == "tf32"
    assert describe_precision("bf16", CPU) == "bf16"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["fp32,0", "bf16,0", "fp16,0"], ["bf16,1", "fp16,2"]])
def test_the_momentum_copy_is_exact_over_1000_steps(settings: list[str]) -> None:
    """Within what fp32 rounds, against a float64 reference that follows the same weights; under DeepSpeed's autocast.
    Settings are precision and ZeRO stage."""
    run_ranks(Path(__file__).parent / "momentum_steps.py", *settings, size=1, timeout=300)
