"""Warnings about a run that goes wrong without failing: collapse, and a pretext task that is nearly solved.

They are found in the lines of ``metrics.jsonl`` alone, so a resumed run gives the same ones as an uninterrupted one.
Each kind is given once a run.
"""

from collections.abc import Sequence
from typing import Any

# Measured with ResNet18 at 64 px and batch 64 from a random start. Collapsing (moco_v2 at lr 1e-3 without
# projector_norm): spread .03 to .09 from step 5 to 60, then effective rank 5.8 at step 80 and falling. Healthy: spread
# .83 to 1 with projector_norm, .28 or more without; effective rank above 120, and 174 to 279 for trained encoders.
_SPREAD = 0.1
_RANK = 5.0
_RANK_IMAGES = 200  # the rank of fewer images is low of itself
_WARM_UP_STEPS = 50
# The published run, at 92.7 %, still gave features that helped; 500 images tell 99 % from 97 %.
_SOLVED = 99.0
_SOLVED_IMAGES = 500

_COLLAPSE_REMEDIES = (
    "lower optimizer.lr, add schedule.warmup_epochs, set method.projector_norm for moco_v2, or raise method.momentum; "
    "the weights from here on are of little use"
)


def find_warnings(
    lines: Sequence[dict[str, Any]], *, images_per_step: int, queue_size: int, num_ranks: int = 1
) -> dict[str, str]:
    """What is wrong as of the last line, by kind, ``collapse`` or ``nearly_solved``, unless an earlier line has it.

    Args:
        lines: of ``metrics.jsonl``, the new one last.
        images_per_step: over all ranks.
        queue_size: past keys that serve as negatives, 0 where there is no queue.
        num_ranks: one of them measured the effective rank.
    """
    trained = [line for line in lines if "loss" in line]
    known = {kind for line in trained[:-1] for kind in line.get("warnings", {})}
    found = {
        "collapse": _collapse(trained, images_per_step=images_per_step // num_ranks),
        "nearly_solved": _nearly_solved(trained, images_per_step=images_per_step, queue_size=queue_size),
    }
    return {kind: message for kind, message in found.items() if message and kind not in known}


def _collapse(trained: Sequence[dict[str, Any]], *, images_per_step: int) -> str | None:
    line, before = trained[-1], trained[-2]["step"] if len(trained) > 1 else 0
    if line["step"] < _WARM_UP_STEPS:
        return None
    spread, rank = line["embedding_spread"], line["effective_rank"]
    num_images = (line["step"] - before) * images_per_step
    if spread is not None and spread < _SPREAD:
        sign = f"the embeddings of different images are nearly equal (embedding_spread {spread:.3f}; 1 is healthy)"
    elif rank is not None and rank < _RANK and num_images >= _RANK_IMAGES:
        sign = (
            f"the features vary in hardly more than one direction (effective_rank {rank:.1f}; 100 or more is healthy)"
        )
    else:
        return None
    return f"collapse at step {line['step']}: {sign}; {_COLLAPSE_REMEDIES}"


def _nearly_solved(trained: Sequence[dict[str, Any]], *, images_per_step: int, queue_size: int) -> str | None:
    """Over the last lines that make up enough images, all of them behind the filling of the queue."""
    num_images, num_solved, step = 0.0, 0.0, trained[-1]["step"]
    befores = [0, *(line["step"] for line in trained[:-1])]
    for line, before in zip(reversed(trained), reversed(befores), strict=True):
        accuracy = line.get("pretext_accuracy(%)")
        if accuracy is None or before * images_per_step < queue_size:
            return None
        images = (line["step"] - before) * images_per_step
        num_images, num_solved = num_images + images, num_solved + images * accuracy
        if num_images >= _SOLVED_IMAGES:
            break
    if num_images < _SOLVED_IMAGES or num_solved <= _SOLVED * num_images:
        return None
    return (
        f"pretext task nearly solved at step {step}: accuracy {num_solved / num_images:.1f} % of the last "
        f"{num_images:.0f} images, so little is left to be learnt. Either the views are too alike (narrow views.area, "
        "raise views.brightness, views.contrast or views.rotation), or batch norm tells which views belong together "
        "(norm.strategy split with more norm.num_groups, shuffle, or group), or there are too few negatives (raise "
        "method.queue_size, or run.batch_size where there is no queue)"
    )
