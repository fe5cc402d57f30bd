"""``model_card.md``: what an encoder was trained on, how, with what, what came of it, and what it is not for."""

import platform
from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Any

import numpy as np
import torch

from shards.base.dataclass_io import differing_fields, to_mapping, to_yaml
from shards.base.facts import num_cores, processor, versions
from shards.index import ShardIndex
from train.encoders.seen import FILE
from train.engine.precision import Resolved, describe_precision
from train.ranks.world import World
from train.run.metrics_file import last_values
from train.settings.config import PretrainConfig, norm_strategy
from train.settings.recipes import RECIPES, recipe

_PACKAGES = ("moco-cxr", "torchvision", "deepspeed", "kornia")
_OF_THIS_RUN = {"data", "output", "recipe"}
_TIMINGS = {"step", "epoch", "time_left(s)", "knn_time(s)"}
_KNN = (
    " kNN AUROC is of patients that were pretrained on, without their labels: it compares checkpoints and runs, and is "
    "no test result."
)


def model_card(
    config: PretrainConfig,
    index: ShardIndex,
    *,
    lines: Sequence[dict[str, Any]],
    precision: Resolved,
    world: World,
    start: str = "",
) -> str:
    """The card as Markdown.

    Args:
        index: the rows that were trained on.
        lines: of ``metrics.jsonl``.
        precision: the precision that was used, resolved.
        start: what the weights it started from were, in a sentence; default: what ``encoder.weights`` says.
    """
    views, selection, method, run = config.views, config.selection, config.method, config.run
    newest = last_values(lines)
    norm = norm_strategy(config, world.size)
    kept = ", the network's with the statistics of its start" if config.norm.keep_statistics else ""
    watched = (
        f"Labels were not learnt from; kNN AUROC of {', '.join(run.knn_label)} was watched during the run."
        if run.knn_label and run.knn_every
        else "No label was read."
    )
    return f"""# {config.encoder.name}, {method.name}, recipe {config.recipe}

A chest X-ray encoder pretrained without labels. Input: one gray channel, {views.size} x {views.size} px, normalised
with mean {views.mean:g} and standard deviation {views.std:g} of values in 0..1. Output: pooled features.

```python
from train.encoders.saved import load_encoder

encoder = load_encoder("{config.output}").encoder
```

## Intended use and limits

For research: a start for fine-tuning, or frozen features for probes, on chest X-rays like those below. Not a medical
device: its features say nothing about a patient until a classifier on them has been trained, and validated on the
patients and the machines it is to be used with. What pretraining finds may follow hospital, projection, devices, sex or
age as much as disease. Other body parts, sizes and views than those below are untested. Whether the weights may be
passed on depends on the terms of the data.

## Data

{_data(index)}

Split `{selection.split}`, views `{selection.view}`, fraction {selection.fraction:g} of the patients. Both views of a
positive pair are of one {config.loader.positives}. {watched}

`{FILE}` beside the encoder has 64-bit hashes of these images and patients, and of those of the run it started from, by
which `eval` tells whether test images were among them. Nothing else needs it. Of data without pseudonyms, whoever knows
a patient's identifier can find out by it that the patient is among them: pass it on only as the data may be passed on.

## Training

| | |
|---|---|
| method | {method.name}, batch norm `{norm}`{kept} |
| encoder | {config.encoder.name} |
| start | {start or f"encoder.weights {config.encoder.weights}"} |
| length | step {newest.get("step", 0)}, epoch {newest.get("epoch", 0):g} |
| batch | {run.batch_size} images a process, {world.size} process(es), {run.gradient_accumulation} batch(es) a step |
| precision | {describe_precision(precision, world.device)} |
| hardware | {hardware(world)} |
| software | {_software()} |
| changed from recipe {config.recipe} | {_changes(config)} |

## Results

Last values in `metrics.jsonl`{_curves(run.log)}.{_KNN if run.knn_label else ""}

| metric | value |
|---|---|
{_results(newest)}

Warnings: {_warnings(lines)}

## Settings

```yaml
{to_yaml(config).rstrip()}
```
"""


def _curves(log: Sequence[str]) -> str:
    return "; the curves are in `tensorboard/`" if "tensorboard" in log else ""


def hardware(world: World) -> str:
    """What the leading process runs on, such as ``2 x NVIDIA H200`` or ``CPU (AMD EPYC 9R14), 8 cores``."""
    if world.device.type == "cuda":
        return f"{world.size} x {torch.cuda.get_device_name(world.device)}"
    return f"CPU ({processor()}), {num_cores()} cores"


def _data(index: ShardIndex) -> str:
    patients, numbers = index.patients(), index.packed_numbers()
    names = index.column("dataset")
    rows = ["| dataset | images | patients | fingerprint |", "|---|---|---|---|"]
    for number, fingerprint in enumerate(index.fingerprints):
        mine = numbers == number
        if mine.any():
            name, num_patients = names[mine][0], len(np.unique(patients[mine]))
            rows.append(f"| {name} | {mine.sum():,} | {num_patients:,} | `{fingerprint}` |")
    return "\n".join(rows)


def _software() -> str:
    dali = sorted({name for found in distributions() if (name := found.name or "").startswith("nvidia-dali")})
    own = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    found = versions([*_PACKAGES, *dali])
    others = [f"{name} {found.get(name, '(not installed as a package)')}" for name in (*_PACKAGES, *dali)]
    return ", ".join([*own, *others])


def _changes(config: PretrainConfig) -> str:
    if config.recipe not in RECIPES:
        return "no recipe"
    values = to_mapping(config)
    changes = []
    for name in differing_fields(recipe(config.recipe), config):
        if name not in _OF_THIS_RUN:
            value: Any = values
            for part in name.split("."):
                value = value[part]
            changes.append(f"`{name} {value}`")
    return ", ".join(changes) or "nothing"


def _results(newest: dict[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {'not finite' if value is None else format(value, '.4g')} |"
        for name, value in newest.items()
        if name not in _TIMINGS
    )


def _warnings(lines: Sequence[dict[str, Any]]) -> str:
    given = [message for line in lines for message in line.get("warnings", {}).values()]
    return "".join(f"\n\n- {message}" for message in given) or "none."
