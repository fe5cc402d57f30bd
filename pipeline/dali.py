"""The DALI engine: bytes by index row, one decode, one ``warp_affine`` a view; on the GPU, or on DALI's CPU operators.

DALI takes the forward matrices as they are (``inverse_map=False``, continuous coordinates).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.plugin.pytorch import feed_ndarray

from pipeline.decode import DecodeError
from pipeline.engine import Request
from shards.index import ShardIndex

_BATCHES_AHEAD = 2


class DaliEngine:
    """Decodes and warps with DALI. One pipeline is built for each run over an epoch's requests."""

    name = "dali"

    def __init__(
        self,
        index: ShardIndex,
        *,
        size: int,
        fill: int,
        device: torch.device,
        num_threads: int,
        batch_size: int,
        num_views: int,
    ) -> None:
        self._index, self._size, self._fill, self._device = index, size, fill, device
        self._num_threads, self._batch_size, self._num_views = num_threads, batch_size, num_views
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def run(self, requests: Iterable[Request]) -> Iterator[torch.Tensor]:
        batches: deque[Request] = deque()
        pipe = self._build(iter(requests), batches)
        while True:
            try:
                outputs = pipe.run()
            except StopIteration:
                return
            except RuntimeError as error:
                rows = ", ".join(str(row) for row in batches[0].rows) if batches else "unknown"
                raise DecodeError(f"one of the rows {rows}: DALI cannot decode it ({error})") from error
            batches.popleft()
            yield torch.stack([self._to_torch(output.as_tensor()) for output in outputs])

    def close(self) -> None:
        """Nothing to end: a pipeline lives as long as its run."""

    def _build(self, requests: Iterator[Request], batches: deque[Request]) -> Pipeline:
        def next_batch() -> list[list[np.ndarray[Any, Any]]]:
            request = next(requests)  # StopIteration ends the run
            batches.append(request)
            encoded = [np.frombuffer(self._index.read(int(row)), dtype=np.uint8) for row in request.rows]
            matrices = request.matrices.astype(np.float32)
            return [encoded, *(list(view) for view in matrices)]

        on_gpu = self._device.type == "cuda"
        pipe = Pipeline(
            batch_size=self._batch_size,
            num_threads=self._num_threads,
            device_id=self._device.index if on_gpu else None,
            prefetch_queue_depth=_BATCHES_AHEAD,
        )
        with pipe:
            encoded, *matrices = fn.external_source(
                source=next_batch,
                num_outputs=1 + self._num_views,
                batch=True,
                dtype=[types.UINT8] + [types.FLOAT] * self._num_views,
            )
            images = fn.decoders.image(encoded, device="mixed" if on_gpu else "cpu", output_type=types.GRAY)
            views = [
                fn.warp_affine(
                    images,
                    matrix=matrix,
                    size=(self._size, self._size),
                    inverse_map=False,
                    fill_value=self._fill,
                    interp_type=types.INTERP_LINEAR,
                )
                for matrix in matrices
            ]
            pipe.set_outputs(*views)
        pipe.build()
        return pipe

    def _to_torch(self, output: Any) -> torch.Tensor:
        """Copies (B, S, S, 1) out of DALI's buffer, which the next run overwrites."""
        copied = torch.empty(tuple(output.shape()), dtype=torch.uint8, device=self._device)
        if self._stream is None:
            feed_ndarray(output, copied)
        else:
            # The copy waits on a stream of its own, so that the host never waits for the training step's stream.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            feed_ndarray(output, copied, cuda_stream=self._stream)
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return copied.squeeze(-1)
