"""The DALI graph: decode once, then one warp and one blur a view, on DALI's GPU or CPU operators.

Pixels of 16 bits become float32 grey levels before the warp, as does on a CPU what comes of it; of 8 bits it is uint8.

DALI takes the forward matrices as they are (``inverse_map=False``, continuous coordinates). The CPU's warp is
``warp_perspective`` with an affine matrix, which is OpenCV's: two 224 px views of a 320 px image take .3 ms of a core
instead of 3 with ``warp_affine``, and are the rounded bilinear values, which ``warp_affine`` misses by up to .9 levels.

``V`` views, ``B`` rows, ``S`` the view's side in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from pipeline.engines.contract import Floats
from pipeline.engines.pixels import PixelType, steps
from pipeline.views import Fill

BATCHES_AHEAD = 2
# All that the hardware can decode goes there. By default a share of each batch (.65) would, and the rest to another
# decoder, so that an image's grey levels could depend on what else is in its batch.
_DECODER: dict[str, dict[str, Any]] = {"cpu": {"device": "cpu"}, "cuda": {"device": "mixed", "hw_decoder_load": 1.0}}
_BYTES: PixelType = np.dtype(np.uint8)
Array = npt.NDArray[Any]
Arrays = Array | list[Array]
"""The values of a batch: one array with a row for each image, or a list of arrays."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What is built for each run over requests; ``V`` outputs of grey levels (B, S, S, 1): float32, but uint8 on a CPU
    where pixels of ``kind`` are uint8. Behind those of the views stand ``num_small`` of small crops, ``small_size``
    pixels on a side."""

    size: int
    fill: Fill
    device: torch.device
    num_threads: int
    batch_size: int
    num_views: int
    has_blur: bool
    kind: PixelType = _BYTES
    num_small: int = 0
    small_size: int = 0

    @property
    def sizes(self) -> list[int]:
        """Side of each output, in pixels."""
        return [self.size] * self.num_views + [self.small_size] * self.num_small

    def build(
        self, source: Callable[[], list[Arrays]], *, shards: Sequence[tuple[Path, Path]] | None = None
    ) -> Pipeline:
        """What :meth:`define` gives, ready to run."""
        pipe = self.define(source, shards=shards)
        pipe.build()
        return pipe

    def define(
        self, source: Callable[[], list[Arrays]], *, shards: Sequence[tuple[Path, Path]] | None = None
    ) -> Pipeline:
        """A pipeline that asks ``source`` for each batch's encoded images (not with ``shards``), and :meth:`inputs`.
        Needs no device yet.

        Args:
            source: raises StopIteration at the end.
            shards: tars and their DALI indexes, from which DALI's WebDataset reader takes the encoded images, in order.
        """
        on_gpu = self.device.type == "cuda"
        pipe = Pipeline(
            batch_size=self.batch_size,
            num_threads=self.num_threads,
            device_id=self.device.index if on_gpu else None,
            prefetch_queue_depth=BATCHES_AHEAD,
            # Without a GPU, the executor that keeps its buffers takes 10 % less time; with one, only the other hands
            # out what is still being computed.
            exec_dynamic=on_gpu,
        )
        per_view = [types.FLOAT] + ([types.FLOAT, types.INT32] if self.has_blur else [])
        kinds = ([] if shards else [types.UINT8]) + per_view * len(self.sizes)
        with pipe:
            inputs = list(fn.external_source(source=source, num_outputs=len(kinds), batch=True, dtype=kinds))
            encoded = _read(shards) if shards else inputs.pop(0)
            images = self._decoded(encoded)
            step = len(per_view)
            given = [inputs[i : i + step] for i in range(0, len(inputs), step)]
            pipe.set_outputs(*(self._view(images, size, *each) for size, each in zip(self.sizes, given, strict=True)))
        return pipe

    def inputs(self, matrices: Floats, sigmas: Floats) -> list[Arrays]:
        """What the graph takes for each view, from matrices (V, B, 2, 3) and sigmas (V, B)."""
        if self.device.type != "cuda":
            last = np.broadcast_to([0.0, 0.0, 1.0], (*matrices.shape[:2], 1, 3))
            matrices = np.concatenate([matrices, last], axis=2)
        arrays: list[Arrays] = []
        for matrix, sigma in zip(matrices.astype(np.float32), sigmas, strict=True):
            arrays.append(matrix)
            if self.has_blur:
                windows = 2 * np.ceil(3.0 * sigma) + 1  # 1 leaves the view as it is
                arrays += [sigma.astype(np.float32), windows.astype(np.int32)]
        return arrays

    def _decoded(self, encoded: Any) -> Any:
        where = _DECODER[self.device.type]
        if self.kind == np.uint8:
            return fn.decoders.image(encoded, output_type=types.GRAY, **where)
        deep = fn.decoders.image(encoded, output_type=types.GRAY, dtype=types.UINT16, **where)
        return fn.cast(deep, dtype=types.FLOAT) * (1.0 / steps(self.kind))

    def _view(self, images: Any, side: int, matrix: Any, sigma: Any = None, window: Any = None) -> Any:
        edge, size = self.fill == "edge", (side, side)
        if self.device.type == "cuda":
            fill: dict[str, Any] = (
                {} if edge else {"fill_value": self.fill}
            )  # without a value, coordinates stay inside the image
            view = fn.warp_affine(images, matrix=matrix, size=size, inverse_map=False, dtype=types.FLOAT, **fill)
        else:
            fill = {"border_mode": "replicate"} if edge else {"fill_value": self.fill}
            view = fn.experimental.warp_perspective(images, matrix=matrix, size=size, inverse_map=False, **fill)
        return fn.gaussian_blur(view, sigma=sigma, window_size=window) if self.has_blur else view


def _read(shards: Sequence[tuple[Path, Path]]) -> Any:
    return fn.readers.webdataset(
        paths=[str(tar) for tar, _ in shards],
        index_paths=[str(index) for _, index in shards],
        ext=["jpg;png"],
        missing_component_behavior="error",
        dont_use_mmap=True,  # a shard that is cut off meanwhile would end the process (SIGBUS)
    )
