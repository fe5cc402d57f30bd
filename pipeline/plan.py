"""What is drawn for a batch: a request for each view of each row."""

from typing import Any

import numpy as np

from pipeline.engines.contract import Request, Rows
from pipeline.views import ViewSpec, affines, sigmas, tones


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
