"""``model_card.md``: what an encoder was trained on, how, with what, and what came of it."""

import platform
from importlib.metadata import version

import pyarrow.compute as pc

from shards.index import ShardIndex
from train.config import PretrainConfig
from train.plain import to_yaml

_PACKAGES = ("torch", "torchvision", "deepspeed", "nvidia-dali-cuda130", "kornia")


def model_card(config: PretrainConfig, index: ShardIndex, *, metrics: dict[str, float], precision: str) -> str:
    """The card as Markdown.

    Args:
        index: the rows that were trained on.
        metrics: the last line of metrics.
        precision: the precision that was used, resolved.
    """
    assert config.output is not None
    counts = pc.value_counts(index.table["dataset"]).to_pylist()
    data = "\n".join(f"| {count['values']} | {count['counts']:,} |" for count in counts)
    results = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items() if name != "time_left(s)")
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    views, selection = config.views, config.selection
    return f"""# {config.encoder.name}, {config.method.name}, recipe {config.recipe}

A chest X-ray encoder pretrained without labels. Input: one gray channel, {views.size} x {views.size} px, normalised
with mean {views.mean:g} and standard deviation {views.std:g} of values in 0..1. Output: pooled features.

```python
from train.export import load_encoder

encoder = load_encoder("{config.output}").encoder
```

Not a medical device: its features say nothing about a patient until a probe has been trained and validated on them.

## Data

| dataset | images |
|---|---|
{data}

Split `{selection.split}`, views `{selection.view}`, fraction {selection.fraction:g} of the patients. No labels were
read.

## Training

Last line of `metrics.jsonl`; the curve is in `tensorboard/`.

| metric | value |
|---|---|
{results}

Precision {precision}; Python {platform.python_version()}, {versions}.

```yaml
{to_yaml(config).rstrip()}
```
"""
