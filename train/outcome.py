"""What comes out of a run: the encoder, on request that of the momentum copy, and the model card."""

from typing import Any

from shards.index import ShardIndex
from train.config import PretrainConfig, norm_strategy
from train.encoder_file import FILES
from train.export import save_encoder
from train.exposure import trained_on
from train.methods.contract import Method
from train.model_card import model_card
from train.monitor import read_metrics
from train.plain import to_mapping
from train.starts import describe_start
from train.world import World


def write_outcome(
    config: PretrainConfig, method: Method, index: ShardIndex, *, step: int, precision: str, world: World
) -> None:
    """Writes ``encoder.safetensors``, ``encoder-key.safetensors`` if asked for, and ``model_card.md`` to the run
    folder. For the leading rank, whose running statistics the encoder gets."""
    assert config.output is not None
    metadata: dict[str, Any] = {
        "name": config.encoder.name,
        "views": config.views,
        "norm": "group" if norm_strategy(config, world.size) == "group" else "batch",
        "config": to_mapping(config),
        "step": step,
        "trained_on": trained_on(index),
    }
    encoder = method.model.get_submodule("encoder")
    save_encoder(config.output / FILES["query"], encoder, **metadata)
    if config.run.export_key and method.target is not None:
        save_encoder(config.output / FILES["key"], method.target.get_submodule("encoder"), **metadata)
    lines = read_metrics(config.output / "metrics.jsonl")
    start = describe_start(encoder)
    card = model_card(config, index, lines=lines, precision=precision, world=world, start=start)
    (config.output / "model_card.md").write_text(card)
    print(f"encoder written to {config.output / FILES['query']}")
