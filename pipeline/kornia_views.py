"""The Kornia engine: decode in threads, one warp a view.

On a GPU the decoded images travel once, as uint8, and Kornia warps them there. On a CPU the same matrices go to OpenCV
in the threads that decode: one OpenCV warp a view was measured at several times the speed of Kornia's CPU path.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import torch
from kornia.geometry.transform import warp_affine

from pipeline.decode import decode_gray
from pipeline.engine import Request
from pipeline.views import shift_half_pixel
from shards.index import ShardIndex

_BATCHES_AHEAD = 3


class KorniaEngine:
    """Decodes by row and warps with Kornia (GPU) or OpenCV (CPU)."""

    name = "kornia"

    def __init__(self, index: ShardIndex, *, size: int, fill: int, device: torch.device, num_threads: int) -> None:
        self._index, self._size, self._fill, self._device = index, size, fill, device
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="views")
        self._num_slices = num_threads
        cv2.setNumThreads(1)  # the pool is the parallelism

    def run(self, requests: Iterable[Request]) -> Iterator[torch.Tensor]:
        source = iter(requests)
        ahead: deque[tuple[Request, torch.Tensor, list[Future[None]]]] = deque()
        while True:
            while len(ahead) < _BATCHES_AHEAD and (request := next(source, None)) is not None:
                ahead.append(self._submit(request))
            if not ahead:
                return
            request, buffer, futures = ahead.popleft()
            for future in futures:
                future.result()
            yield self._finish(request, buffer)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, request: Request) -> tuple[Request, torch.Tensor, list[Future[None]]]:
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            width, height = request.sizes.max(axis=0)
            shape = [len(request.rows), int(height), int(width)]
        else:
            shape = [*request.matrices.shape[:2], self._size, self._size]
        buffer = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
        fill_slice = self._decode_slice if on_gpu else self._view_slice
        slices = np.array_split(np.arange(len(request.rows)), self._num_slices)
        return request, buffer, [self._pool.submit(fill_slice, request, buffer.numpy(), part) for part in slices]

    def _view_slice(self, request: Request, out: npt.NDArray[np.uint8], part: npt.NDArray[np.int64]) -> None:
        matrices = shift_half_pixel(request.matrices)
        for i in part:
            row = int(request.rows[i])
            pixels = decode_gray(self._index.read(row), row)
            for view in range(len(matrices)):
                warp_opencv(pixels, matrices[view, i], out[view, i], fill=self._fill)

    def _decode_slice(self, request: Request, out: npt.NDArray[np.uint8], part: npt.NDArray[np.int64]) -> None:
        for i in part:
            row = int(request.rows[i])
            pixels = decode_gray(self._index.read(row), row)
            height, width = pixels.shape
            out[i, :height, :width] = pixels
            out[i, height:] = self._fill
            out[i, :height, width:] = self._fill

    def _finish(self, request: Request, buffer: torch.Tensor) -> torch.Tensor:
        if self._device.type != "cuda":
            return buffer
        images = buffer.to(self._device, non_blocking=True).unsqueeze(1).float()
        matrices = torch.from_numpy(shift_half_pixel(request.matrices)).float().pin_memory()
        matrices = matrices.to(self._device, non_blocking=True)
        return torch.stack([warp_kornia(images, view, size=self._size, fill=self._fill) for view in matrices])


def warp_opencv(
    pixels: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], out: npt.NDArray[np.uint8], *, fill: int
) -> None:
    """Warps (H, W) pixels into ``out`` (S, S) by a forward matrix (2, 3) in half-pixel shifted coordinates."""
    cv2.warpAffine(
        pixels,
        matrix,
        (out.shape[1], out.shape[0]),
        dst=out,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )


def warp_kornia(images: torch.Tensor, matrices: torch.Tensor, *, size: int, fill: int) -> torch.Tensor:
    """Warps (B, 1, H, W) float grey levels by forward matrices (B, 2, 3) in half-pixel shifted coordinates, to
    (B, S, S)."""
    levels = images - float(fill)  # Kornia pads with zeros
    return warp_affine(levels, matrices, (size, size), mode="bilinear", align_corners=True).squeeze(1) + float(fill)
