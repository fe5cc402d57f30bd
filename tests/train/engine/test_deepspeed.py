"""Accumulated, clipped and exchanged gradients under DeepSpeed are those of plain PyTorch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards.base.errors import InputError
from tests.train.processes import run_ranks
from train.engine.deepspeed import deepspeed_config
from train.settings.config import RunConfig
from train.settings.methods import METHODS

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


WAITING = Path(__file__).parent / "waiting_steps.py"
FEW = ["moco_v2,0,bf16,1,0", "moco_v2plus,2,bf16,2,1.0", "byol,0,fp32,1,1.0", "moco_v3,1,bf16,1,0", "swav,2,fp16,1,0"]
ALL = [f"{name},{stage},bf16,2,{clipping}" for name in METHODS for stage in (0, 1, 2) for clipping in (0, 1.0)]
ALL += [f"{name},{stage},{precision},1,0" for name in METHODS for stage in (0, 1, 2) for precision in ("fp32", "fp16")]


@pytest.mark.parametrize("settings", [FEW, pytest.param(ALL, marks=pytest.mark.slow)], ids=["few", "all"])
def test_no_step_waits_for_the_device(settings: list[str]) -> None:
    """No synchronisation, no value read back, no number uploaded; what DeepSpeed does by itself is found."""
    run_ranks(WAITING, *settings, "planted", size=1, timeout=600)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_an_overflow_on_one_rank_is_passed_over_by_all(size: int) -> None:
    run_ranks(Path(__file__).parent / "overflowing_steps.py", size=size)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_mixed_precision_is_autocast_and_never_casts_modules(precision: str, dtype: str) -> None:
    made = deepspeed_config(RunConfig(zero_stage=2), precision=precision, optimizer="adam")
    assert made["torch_autocast"] == {"enabled": True, "dtype": dtype, "lower_precision_safe_modules": []}
    assert not {"bf16", "fp16", "zero_allow_untested_optimizer"} & made.keys()
    assert made["zero_optimization"]["stage"] == 2


def test_fp32_and_sgd() -> None:
    made = deepspeed_config(RunConfig(gradient_clipping=1.0), precision="fp32", optimizer="sgd")
    assert made["gradient_clipping"] == 1.0
    assert "torch_autocast" not in made
    assert made["zero_allow_untested_optimizer"]


def own(tmp_path: Path, content: Any) -> RunConfig:
    path = tmp_path / "own.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return replace(RunConfig(), deepspeed=path)


def test_merges_the_users_json(tmp_path: Path) -> None:
    run = own(tmp_path, {"zero_optimization": {"overlap_comm": True}, "gradient_clipping": 2.0})
    made = deepspeed_config(run, precision="bf16", optimizer="adam")
    assert made["zero_optimization"] == {"stage": 0, "overlap_comm": True}
    assert made["gradient_clipping"] == 2.0
    assert made["train_micro_batch_size_per_gpu"] == run.batch_size


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bf16": {"enabled": True}}, "bf16.enabled casts the weights.*--run.precision bf16"),
        ({"fp16": {"enabled": True}}, "fp16.enabled casts the weights"),
        ({"bfloat16": {"enabled": True}}, "bfloat16.enabled casts the weights.*--run.precision bf16"),
        ({"amp": {"enabled": True}}, "amp.enabled casts the weights"),
        ({"zero_optimization": {"stage": 3}}, "stage 3 .*momentum encoder"),
        ({"zero_optimization": True}, "zero_optimization True is no JSON object"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps is set by --run.gradient_accumulation"),
        ({"torch_autocast": {"enabled": False}}, "torch_autocast is set by --run.precision"),
        ({"scheduler": {"type": "WarmupLR"}}, "scheduler is set by --schedule"),
        ({"train_batch_size": 64}, "train_batch_size is set by --run.batch_size"),
        ({"optimizer": {"type": "Adam"}}, "optimizer is set by"),
        ({"fp16": {"enabled": "auto"}}, "fp16.enabled casts the weights"),
        ({"bf16": "auto"}, "bf16.enabled casts"),
        ({"gradient_clipping": "auto"}, "gradient_clipping 'auto': give a number"),
        ({"gradient_clipping": -1}, "gradient_clipping -1: out of range; give 0"),
        ({"zero_optimization": {"stage": "auto"}}, "zero_optimization.stage 'auto': give a whole number"),
        ({"zero_optimization": {"reduce_bucket_size": "auto"}}, "reduce_bucket_size 'auto': give a number"),
        ({"zero_optimization": {"overlap_com": True}}, "zero_optimization.overlap_com: is not among what a run takes"),
        ({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}, "offload_optimizer: is not among"),
        ({"gradient_cliping": 1.0}, "gradient_cliping: is not among"),
        ({"data_types": {"grad_accum_dtype": "fp16"}}, "data_types: is not among"),
        ({"communication_data_type": "fp16"}, "communication_data_type 'fp16': give fp32"),
        ({"activation_checkpointing": {}}, "activation_checkpointing: is not among"),
        ({"wandb": {"enabled": True}}, "wandb.enabled true: the package wandb is not installed"),
        ({"flops_profiler": {"enabled": 1}}, "flops_profiler.enabled 1: give true or false"),
        ("[" * 100_000, "is no JSON .recursion limit"),
        ('{"gradient_clipping": NaN}', "is no JSON"),
        ('{"gradient_clipping": 1e400}', "gradient_clipping inf: out of range"),
        ("{", "is no JSON"),
        ([], "is no JSON object"),
    ],
)
def test_refuses_what_would_break_the_method(
    tmp_path: Path, content: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.settings.deepspeed.find_spec", lambda name: None)
    with pytest.raises(InputError, match=message):
        deepspeed_config(own(tmp_path, content), precision="bf16", optimizer="adam")


def test_leaves_alone_what_is_off(tmp_path: Path) -> None:
    made = deepspeed_config(own(tmp_path, {"bf16": {"enabled": False}}), precision="bf16", optimizer="adam")
    assert made["bf16"] == {"enabled": False}
    off = {"fp16": {"enabled": False, "loss_scale": 0}, "zero_optimization": {"reduce_bucket_size": 5e8}}
    made = deepspeed_config(own(tmp_path, off), precision="bf16", optimizer="adam")
    assert made["fp16"] == {"enabled": False}
    assert made["zero_optimization"] == {"stage": 0, "reduce_bucket_size": 5e8}


def test_refuses_lars_over_flat_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run.zero_stage 2: .* layer by layer; use run.zero_stage 0"):
        deepspeed_config(RunConfig(zero_stage=2), precision="fp32", optimizer="lars")
    run = own(tmp_path, {"zero_optimization": {"stage": 1}})
    with pytest.raises(InputError, match="zero_stage 1"):
        deepspeed_config(run, precision="fp32", optimizer="lars")
    assert deepspeed_config(RunConfig(), precision="fp32", optimizer="lars")["zero_optimization"]["stage"] == 0


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        deepspeed_config(replace(RunConfig(), deepspeed=tmp_path / "no.json"), precision="bf16", optimizer="adam")


def test_refuses_to_clip_scaled_gradients() -> None:
    with pytest.raises(InputError, match="run.gradient_clipping 1: with fp16 and ZeRO"):
        deepspeed_config(RunConfig(zero_stage=1, gradient_clipping=1.0), precision="fp16", optimizer="adam")
