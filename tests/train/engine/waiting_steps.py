"""What a training step under DeepSpeed would wait for, were the device a GPU; ``test_deepspeed.py`` starts it. Not a
test by itself.

    RANK=0 WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 MASTER_PORT=N python tests/train/engine/waiting_steps.py byol,2,bf16,1,1.0

Settings are method, ZeRO stage, precision, gradient accumulation, gradient clipping; ``planted`` runs the faults that
are to be found.
"""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import train.methods.embedder
from tests.gpu.waits import Waits
from tests.train.methods.conftest import Rows, build_tiny
from train.engine import deepspeed
from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.optimizers import build_optimizer
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.ranks.world import World, describe_world, start_processes
from train.settings.config import MethodConfig, NormConfig, PretrainConfig, RunConfig
from train.settings.methods import METHODS
from train.trainer import Trainer

BATCH = 8
WARMING, COUNTED = 4, 4  # DeepSpeed's throughput timer begins with its third step


def waits_of(world: World, setting: str, *, changed: dict[str, Any] | None = None) -> Counter[str]:
    """Of some steps of the trainer; ``changed`` goes over DeepSpeed's settings."""
    name, stage, precision, accumulation, clipping = setting.split(",")
    config = PretrainConfig(
        method=MethodConfig(name=name, embedding=32, projector_hidden=48, predictor_hidden=24, queue_size=32),
        norm=NormConfig(strategy="split" if METHODS[name].has_queue else "plain"),
        run=RunConfig(
            batch_size=BATCH,
            precision=precision,  # type: ignore[arg-type]
            zero_stage=int(stage),
            gradient_accumulation=int(accumulation),
            gradient_clipping=float(clipping),
        ),
    )
    index: Any = Rows(np.arange(64), patients=lambda: np.arange(64) // 2)
    method = build_method(config, world, TrainingData(index))
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    ds_config = deepspeed_config(config.run, precision=precision, optimizer="adam") | (changed or {})
    trainer = Trainer(config, method, start_engine(method.model, optimizer, ds_config, world), batches_per_epoch=64)
    views, rows = torch.randn(2, BATCH, 1, 32, 32).unbind(0), torch.arange(0, 2 * BATCH, 2)
    for _ in range(WARMING * int(accumulation)):
        trainer.step(views, rows)
    with Waits() as waits:
        for _ in range(COUNTED * int(accumulation)):
            trainer.step(views, rows)
    return waits.found


def check_planted(world: World) -> None:
    """What DeepSpeed does by itself is found, and so is a method that looks at its loss."""
    timed = waits_of(world, "moco_v2,0,bf16,1,0", changed={"timers": {"throughput": {"enabled": True}}})
    assert found(timed, "synchronize") == 2 * COUNTED, timed
    asked, ours = deepspeed._without_waits, deepspeed.step_without_waiting
    deepspeed._without_waits = lambda ds_config: ds_config
    deepspeed.step_without_waiting = lambda *arguments, **named: None
    try:
        for setting, what, times in (
            ("moco_v2,1,bf16,1,0", "read", COUNTED),
            ("moco_v2,2,bf16,1,1.0", "read", 2 * COUNTED),
            ("moco_v2,0,bf16,1,1.0", "made on the host", 2 * COUNTED),
        ):
            waits = waits_of(world, setting)
            assert found(waits, what) == times, (setting, waits)
    finally:
        deepspeed._without_waits, deepspeed.step_without_waiting = asked, ours
    before: Callable[..., Any] = Trainer.step

    def step(self: Trainer, *arguments: Any) -> None:
        float(before(self, *arguments).loss)

    Trainer.step = step  # type: ignore[assignment,method-assign]
    assert found(waits_of(world, "simsiam,0,fp32,1,0"), "read") == COUNTED
    Trainer.step = before  # type: ignore[method-assign]


def found(waits: Counter[str], what: str) -> int:
    return sum(count for where, count in waits.items() if where.startswith(what))


if __name__ == "__main__":
    train.methods.embedder.build_encoder = build_tiny  # type: ignore[assignment]
    here = describe_world()
    start_processes(here)
    for each in sys.argv[1:]:
        if each == "planted":
            check_planted(here)
        else:
            waited = waits_of(here, each)
            assert not waited, f"{each}: {dict(waited)}"
    torch.distributed.destroy_process_group()
