"""The pointing game (Zhang et al. 2016, arXiv 1608.00507): how often the maximum of a map of where an encoder looks
lies inside a box that a reader drew around the finding.

Legend: B images, H W pixels of a view, h w cells of a map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.report.saliency import enlarged
from eval.results.rates import rate_interval
from eval.stats.interval import Interval
from pipeline.views import ViewSpec, affines
from shards.drawn import Drawn, drawn_boxes
from shards.index import ShardIndex

_REPLICATES = 2000


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """The share of ``num_images`` whose maximum lies in a box, and what pointing anywhere in the view would reach."""

    label: str
    num_images: int
    hits: Interval
    chance: float

    def in_words(self, level: float) -> str:
        """A sentence for the page."""
        low, high = 100 * self.hits.low, 100 * self.hits.high
        return (
            f"Pointing game: the maximum of the map lies in a box of {self.label} in {100 * self.hits.estimate:.0f} % "
            f"[{low:.0f}, {high:.0f}; {100 * level:g} % CI] of the {self.num_images:,} test images with such boxes; "
            f"pointing anywhere in the view would reach {100 * self.chance:.0f} %."
        )


def boxed(images: ShardIndex, label: str) -> tuple[npt.NDArray[np.int64], list[Drawn]]:
    """The positions of the images on which readers drew boxes of a label, and these boxes."""
    found = [tuple(box for box in drawn or () if box.label == label) for drawn in drawn_boxes(images)]
    chosen = [place for place, boxes in enumerate(found) if boxes]
    return np.array(chosen, dtype=np.int64), [found[place] for place in chosen]


def pointing(
    images: ShardIndex,
    boxes: Sequence[Drawn],
    maps: npt.NDArray[np.float32],
    spec: ViewSpec,
    *,
    label: str,
    level: float,
    seed: int,
) -> Pointing | None:
    """How often the maps point into the boxes; None for no image. Intervals resample patients.

    Args:
        images: the B images, each with its ``boxes`` in stored pixels and its map (B, h, w).
        spec: of the views that the maps are of.
    """
    if not len(images):
        return None
    matrices = affines(spec.evaluation(), images.rows, images.sizes(), epoch=0, seed=0, view=0)
    places = stored_maxima(maps, matrices, spec.size)
    inside = np.array([_is_inside(place, of) for place, of in zip(places, boxes, strict=True)], dtype=np.float64)
    hits = rate_interval(inside, images.patients(), num_replicates=_REPLICATES, level=level, seed=seed)
    assert hits is not None
    chance = float(np.mean([_covered(matrix, of, spec.size) for matrix, of in zip(matrices, boxes, strict=True)]))
    return Pointing(label=label, num_images=len(images), hits=hits, chance=chance)


def stored_maxima(
    maps: npt.NDArray[np.float32], matrices: npt.NDArray[np.float64], size: int
) -> npt.NDArray[np.float64]:
    """Where the maxima of maps (B, h, w) lie in stored pixels, (B, 2) of x and y, through the views' forward matrices
    (B, 2, 3)."""
    large = enlarged(maps, (size, size))
    flat = large.reshape(len(large), -1).argmax(axis=1)
    seen = np.stack([flat % size + 0.5, flat // size + 0.5], axis=1)
    return np.asarray(
        np.linalg.solve(matrices[:, :, :2], (seen - matrices[:, :, 2])[:, :, None])[:, :, 0], dtype=np.float64
    )


def _is_inside(place: npt.NDArray[np.float64], boxes: Drawn) -> bool:
    x, y = place
    return any(box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height for box in boxes)


def _covered(matrix: npt.NDArray[np.float64], boxes: Drawn, size: int) -> float:
    """The share of a view's pixels that lie in a box."""
    is_covered = np.zeros((size, size), dtype=bool)
    for box in boxes:
        corners = np.array([[box.x, box.x + box.width], [box.y, box.y + box.height]])
        (left, right), (top, bottom) = np.clip(np.rint(matrix[:, :2] @ corners + matrix[:, 2:]), 0, size).astype(int)
        is_covered[top:bottom, left:right] = True
    return float(is_covered.mean())
