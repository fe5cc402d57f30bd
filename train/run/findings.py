"""What is found before a run, on each rank by itself: its data, whether settings, network and folder fit; and what is
said of it at the start."""

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import nn

from pipeline.loader import Loader
from shards.base.errors import needing
from shards.index import ShardIndex
from shards.repeated import repeated_note
from train.checkpoints.place import FOLDER, step_folders
from train.encoders.seen import Seen
from train.encoders.weights import describe_start
from train.engine.deepspeed import deepspeed_config
from train.engine.precision import Resolved, describe_precision, resolve_precision
from train.methods.embedder import check_network
from train.ranks.world import World
from train.run.folder import seen_by_start
from train.run.knn import Neighbours, build_neighbours
from train.run.model_card import hardware
from train.settings.checks import check_config
from train.settings.config import PretrainConfig
from train.settings.rows import rows_of, select_rows
from train.settings.run_folder import check_run_folder
from train.settings.schedule import describe_rate, images_per_step, rate_note


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run is made from."""

    index: ShardIndex
    neighbours: Neighbours | None
    precision: Resolved
    ds_config: dict[str, Any]
    seen_before: Seen
    note: str


def look(config: PretrainConfig, world: World) -> Found:
    """Looks at all that can be wrong before anything is computed.

    Raises:
        InputError: naming the field, its value and the remedy.
    """
    with needing("train", "pretraining"):
        if find_spec("deepspeed") is None:
            raise ModuleNotFoundError(name="deepspeed")
    index, run = select_rows(config), config.run
    check_config(config, world_size=world.size, rows=rows_of(index))
    note = check_network(config, world)
    check_run_folder(config)
    neighbours = build_neighbours(config, index, world)
    seen_before = seen_by_start(config.encoder.weights) if world.leads else Seen()
    precision = resolve_precision(run.precision, world.device)
    return Found(
        index=index,
        neighbours=neighbours,
        precision=precision,
        ds_config=deepspeed_config(run, precision=precision, optimizer=config.optimizer.name),
        seen_before=seen_before,
        note=note,
    )


def tell(config: PretrainConfig, found: Found, loader: Loader, encoder: nn.Module, world: World) -> None:
    """Prints what the run goes by: machine, precision, loading engine, start, learning rate, and what may surprise."""
    if repeated := repeated_note(found.index):
        print(f"warning: --data: {repeated}; in one batch they are negatives of themselves", file=sys.stderr)
    devices = os.environ.get("CUDA_VISIBLE_DEVICES") if world.device.type == "cuda" else None
    assert config.output is not None
    goes_on = bool(step_folders(config.output / FOLDER))  # and not from what the encoder was built with
    place = hardware(world) + (f" (CUDA_VISIBLE_DEVICES {devices})" if devices else "")
    notes = [
        f"{place}, {world.size} process(es), {describe_precision(found.precision, world.device)}",
        loader.choice.reason,
        *([loader.partners.summary] if loader.partners else []),
        *([] if goes_on else [describe_start(encoder)]),
        *filter(None, [found.note, rate_note(config)]),
        describe_rate(config.optimizer, batch=images_per_step(config.run, world_size=world.size)),
    ]
    print("\n".join(notes))
