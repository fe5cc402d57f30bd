"""What is drawn for a batch: a request for each view of each row; and views that stored images are too small for."""

import warnings
from typing import Any

import numpy as np

from pipeline.engines.contract import Request, Rows
from pipeline.views import ViewSpec, affines, sigmas, tones

_ALIASING_SCALE = 0.5  # below it, one bilinear warp skips pixels


def plan_batch(spec: ViewSpec, *, rows: Rows, sizes: Rows, passes: Rows, seed: int, num_views: int) -> Request:
    """What an engine needs to know to make the views of rows (B,) with stored sizes (B, 2) on their passes (B,): first
    ``num_views``, then the small crops of ``spec``, which are views of the next numbers."""
    specs = [spec] * num_views + [spec.small()] * spec.small_crops
    addressed: list[tuple[ViewSpec, dict[str, Any]]] = [
        (each, {"epoch": passes, "seed": seed, "view": view}) for view, each in enumerate(specs)
    ]
    return Request(
        rows=rows,
        sizes=sizes,
        matrices=np.stack([affines(each, rows, sizes, **address) for each, address in addressed]),
        tones=np.stack([tones(each, rows, **address) for each, address in addressed]),
        sigmas=np.stack([sigmas(each, rows, **address) for each, address in addressed]),
    )


def warn_of_sizes(sizes: Rows, spec: ViewSpec, *, above: int) -> None:
    """Warns where views enlarge all images of stored sizes (N, 2), or take so much less that pixels are skipped;
    ``above``: how many calls up the line is that the warning is for, this one counted."""
    sides = sizes.min(axis=1)
    side, largest = float(np.median(sides)), int(sides.max())
    if spec.size > largest:
        told = f"no image has more than {largest} px: views of {spec.size} px enlarge all of them"
        warnings.warn(told, stacklevel=above)
    if spec.size < _ALIASING_SCALE * np.sqrt(spec.area[0]) * side:
        warnings.warn(
            f"images of {side:.0f} px are warped to {spec.size} px in one bilinear step, which skips pixels; "
            f"pack with --size {round(1.25 * spec.size)} for views of this size",
            stacklevel=above,
        )
