"""The folder of a run: its config, and in the end its encoders and model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shards.base.atomic import atomic_write
from shards.base.dataclass_io import to_mapping, to_yaml
from shards.base.stored import read_file
from shards.index import ShardIndex
from shards.stored_as import image_spec
from train.encoders.file import FILES, is_ours, read_encoder_file
from train.encoders.saved import save_encoder
from train.encoders.seen import Seen, load_seen, save_seen, seen_in, united
from train.encoders.starts.hub import download, is_on_hub
from train.encoders.weights import describe_start
from train.engine.precision import Resolved
from train.methods.contract import Method
from train.ranks.world import World
from train.run.metrics_file import read_metrics
from train.run.model_card import model_card
from train.settings.config import PretrainConfig


def write_run_folder(config: PretrainConfig, ds_config: dict[str, Any], *, note: str) -> None:
    """Creates the folder with ``config.yaml``, headed by ``note`` as a comment, and ``ds_config.json``; a file that
    would say the same stays as it is."""
    folder = _folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "config.yaml": f"# {note}\n{to_yaml(config)}",
        "ds_config.json": json.dumps(ds_config, indent=2) + "\n",
    }
    for name, content in contents.items():
        if not (folder / name).is_file() or read_file(folder / name) != content.encode():
            atomic_write(folder / name, content)


def seen_by_start(weights: str) -> Seen:
    """What the run saw that ``encoder.weights`` names; of other weights nothing is known.

    Raises:
        InputError: a run that has not finished, or a damaged file or checkpoint.
    """
    path = download(weights) if is_on_hub(weights) else weights
    if not is_ours(path):
        return Seen()
    file = read_encoder_file(path)
    return load_seen(file.path, file.metadata)


def write_seen(config: PretrainConfig, index: ShardIndex, *, norm: str, before: Seen) -> dict[str, Any]:
    """Writes ``seen.safetensors`` to the run folder, and returns what is known of the encoder that the run makes, for
    :func:`train.encoders.saved.encoder_header`.

    Args:
        index: the rows that are trained on.
        norm: ``batch`` or ``group``, the encoder's.
        before: what was seen by the run that this one starts from.
    """
    return {
        "name": config.encoder.name,
        "views": config.views,
        "norm": norm,
        "image": to_mapping(image_spec(index)),
        "config": to_mapping(config),
        **save_seen(_folder(config), united(seen_in(index), before)),
    }


def write_encoders_and_card(
    config: PretrainConfig,
    method: Method,
    index: ShardIndex,
    *,
    about: Mapping[str, Any],
    step: int,
    precision: Resolved,
    world: World,
) -> None:
    """Writes ``encoder.safetensors``, ``encoder-key.safetensors`` if asked for, and ``model_card.md`` to the run
    folder. For the leading rank, whose running statistics the encoder gets.

    Args:
        index: the rows that were trained on.
        about: what :func:`write_seen` gave.
    """
    folder, encoder = _folder(config), method.model.encoder
    save_encoder(folder / FILES["query"], encoder, **about, step=step)
    if config.run.export_key and method.target is not None:
        save_encoder(folder / FILES["key"], method.target.encoder, **about, step=step)
    lines = read_metrics(folder / "metrics.jsonl")
    start = describe_start(encoder)
    card = model_card(config, index, lines=lines, precision=precision, world=world, start=start)
    atomic_write(folder / "model_card.md", card)
    print(f"encoder written to {folder / FILES['query']}")


def _folder(config: PretrainConfig) -> Path:
    assert config.output is not None
    return config.output
