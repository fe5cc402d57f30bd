"""The Kornia engine: pixels by row in threads, one warp a view.

On a GPU the decoded images travel once, as uint8 or 16 bits, and Kornia warps them there; with a store in the GPU's
memory, they travel once for all epochs. On a CPU a compiled kernel takes the same matrices in the threads that decode,
image by image while its pixels are in the cache.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import torch

from pipeline.engines.contract import Buffers, Request, Rows, Views
from pipeline.engines.pixels import Pixels, device_type, grey_levels, steps
from pipeline.engines.resident import DeviceStore
from pipeline.engines.samples import DamagedSample, Samples
from pipeline.engines.warps import make_views, make_views_kornia, shift_half_pixel, to_pixels
from pipeline.upload import upload
from pipeline.views import Fill
from shards.base.errors import InputError

_BATCHES_AHEAD = 3


class PixelSource(Protocol):
    """Where the engine's pixels come from: decoded each time, or kept by a
    :class:`pipeline.engines.resident.PixelStore`."""

    samples: Samples

    def pixels(self, row: int, height: int, width: int, scratch: Pixels) -> Pixels:
        """Grey levels (height, width) of a row, in ``scratch`` (at least height * width pixels) or elsewhere."""
        ...

    def close(self) -> None:
        """Gives memory back."""
        ...


class Decoder:
    """Pixels decoded each time."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def pixels(self, row: int, height: int, width: int, scratch: Pixels) -> Pixels:
        return self.samples.decode(row, scratch[: height * width].reshape(height, width))

    def close(self) -> None:
        """Nothing is kept."""


@dataclass
class _Batch:
    """A batch in the making; ``positions`` of it are decoded into ``made``, and ``damage`` maps positions to errors."""

    request: Request
    positions: Rows
    made: torch.Tensor
    small: torch.Tensor | None = None
    futures: list[Future[None]] = field(default_factory=list)
    damage: dict[int, DamagedSample] = field(default_factory=dict)


class KorniaEngine:
    """Views from a pixel source, by :func:`pipeline.engines.warps.make_views` (CPU) or Kornia (GPU).

    Args:
        num_small, small_size: of small crops, which requests have behind the ``num_views`` others.
        store: pixels in the device's memory; what is there is not decoded again.
        spare: called again and again in a thread that has nothing else to do, while it returns True.
    """

    def __init__(
        self,
        source: PixelSource,
        *,
        name: str = "kornia",
        size: int,
        fill: Fill,
        device: torch.device,
        num_threads: int,
        batch_size: int,
        num_views: int,
        num_small: int = 0,
        small_size: int = 0,
        store: DeviceStore | None = None,
        spare: Callable[[], bool] | None = None,
    ) -> None:
        self.name, self._store = name, store
        self._source, self._size, self._fill, self._device, self._spare = source, size, fill, device, spare
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="views")
        self._num_threads = num_threads
        self._num_views, self._num_small, self._small_size = num_views, num_small, small_size
        self._buffers = Buffers((num_views, batch_size, 1, size, size), keep=_BATCHES_AHEAD + 1)
        self._small = Buffers((num_small, batch_size, 1, small_size, small_size), keep=_BATCHES_AHEAD + 1)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._scratch = threading.local()
        self._num_waiting = 0  # slices that no thread has begun
        self._lock = threading.Lock()
        self._is_closing = False
        cv2.setNumThreads(1)  # the pool is the parallelism

    def run(self, requests: Iterable[Request]) -> Generator[Views, None, None]:
        source = iter(requests)
        ahead: deque[_Batch] = deque()
        try:
            while True:
                while len(ahead) < _BATCHES_AHEAD and (request := next(source, None)) is not None:
                    ahead.append(self._submit(request))
                if not ahead:
                    return
                batch = ahead.popleft()
                for future in batch.futures:
                    future.result()
                yield self._finish(batch)
        finally:  # an abandoned epoch leaves no work behind
            cancelled = [future.cancel() for batch in ahead for future in batch.futures]
            with self._lock:
                self._num_waiting -= sum(cancelled)

    def close(self) -> None:
        self._is_closing = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._source.close()
        self._store = self._spare = None  # a method of the store, which would keep its pixels

    def _submit(self, request: Request) -> _Batch:
        positions = np.arange(len(request.rows))
        if self._stream is None:
            batch = _Batch(request, positions, self._buffers.take()[:, : len(positions)])
            if self._num_small:
                batch.small = self._small.take()[:, : len(positions)]
            make_slice = self._view_slice
        else:
            width, height = request.sizes.max(axis=0).tolist()
            shape: tuple[int, ...] = (len(positions), height, width)
            make_slice = self._pixel_slice
            if self._store is not None:
                positions = self._store.missing(request.rows)
                shape, make_slice = (int(request.sizes[positions].prod(axis=1).sum()),), self._flat_slice
            # Pinned memory comes from a cache that knows which copies still read it.
            kind = device_type(self._source.samples.kind)
            batch = _Batch(request, positions, torch.empty(shape, dtype=kind, pin_memory=True))
        slices = np.array_split(np.arange(len(positions)), min(self._num_threads, max(1, len(positions))))
        with self._lock:
            self._num_waiting += len(slices)
        batch.futures += [self._pool.submit(self._work, make_slice, batch, part) for part in slices]
        if self._spare is not None:
            for _ in range(self._num_threads):
                self._pool.submit(self._work_spare, self._spare)
        return batch

    def _work(self, make_slice: Callable[[_Batch, Rows], None], batch: _Batch, part: Rows) -> None:
        with self._lock:
            self._num_waiting -= 1
        make_slice(batch, part)

    def _work_spare(self, spare: Callable[[], bool]) -> None:
        while not self._num_waiting and not self._is_closing and spare():
            pass

    def _pixels(self, batch: _Batch, position: int) -> Pixels | None:
        """Grey levels of one row of the batch; None if it is damaged, which is noted."""
        row, (width, height) = int(batch.request.rows[position]), batch.request.sizes[position].tolist()
        scratch = getattr(self._scratch, "pixels", None)
        if scratch is None or scratch.size < height * width:
            scratch = self._scratch.pixels = np.empty(height * width, dtype=self._source.samples.kind)
        try:
            return self._source.pixels(row, height, width, scratch)
        except DamagedSample as error:
            batch.damage[position] = error
            return None
        except InputError:
            raise  # says what to mend
        except Exception as error:
            raise RuntimeError(
                f"a loader thread failed on image {self._source.samples.name(row)}: {error!r}"
            ) from error

    def _view_slice(self, batch: _Batch, part: Rows) -> None:
        request, first = batch.request, 0
        parts = []  # which views, and where they go: (V - W, B, S, S) and (W, B, s, s)
        for made in (batch.made, batch.small):
            if made is not None:
                parts.append((slice(first, first + len(made)), made.numpy()[:, :, 0]))
                first += len(made)
        # By image, (B, V, ...): what the views of one image need lies together.
        inverses = np.ascontiguousarray(to_pixels(request.matrices[:, part]).swapaxes(0, 1))
        tones = np.ascontiguousarray(request.tones[:, part].swapaxes(0, 1))
        sigmas = request.sigmas[:, part].T
        for i, position in enumerate(part.tolist()):
            pixels = self._pixels(batch, position)
            if pixels is None:
                continue
            for these, out in parts:
                views = {"tones": tones[i, these], "sigmas": sigmas[i, these]}
                make_views(pixels, inverses[i, these], out[:, position], fill=self._fill, **views)

    def _pixel_slice(self, batch: _Batch, part: Rows) -> None:
        out = batch.made.numpy().view(self._source.samples.kind)
        for i in part.tolist():
            pixels = self._pixels(batch, int(batch.positions[i]))
            if pixels is not None:
                place_padded(pixels, out[i], self._fill)

    def _flat_slice(self, batch: _Batch, part: Rows) -> None:
        """As :meth:`_pixel_slice`, but one image behind the other."""
        counts = batch.request.sizes[batch.positions].prod(axis=1)
        starts = np.cumsum(counts) - counts
        out = batch.made.numpy().view(self._source.samples.kind)
        for i in part.tolist():
            pixels = self._pixels(batch, int(batch.positions[i]))
            if pixels is not None:
                out[starts[i] : starts[i] + counts[i]] = pixels.reshape(-1)

    def _finish(self, batch: _Batch) -> Views:
        taken = self._source.samples.skip(batch.damage, batch.request.rows)
        rows = batch.request.rows[taken]
        if self._stream is None:
            for position in batch.damage:
                for made in (batch.made, batch.small):
                    if made is not None:
                        made[:, position] = made[:, taken[position]]
            return Views(batch.made, rows, batch.small)
        # On a stream of its own, the upload and the warp overlap with the step that still runs on the current one.
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            if self._store is not None:
                is_whole = ~np.isin(batch.positions, list(batch.damage))
                self._store.put_flat(batch.request.rows[batch.positions], batch.made, is_whole=is_whole)
                self._store.put_decoded()
                images = self._store.take(rows, self._fill)
            else:
                images = upload(batch.made, self._device)
                if batch.damage:
                    images = images[upload(torch.from_numpy(taken), self._device)]
            large = slice(self._num_views)
            pixels = warp_on_device(images, batch.request, taken, size=self._size, fill=self._fill, views=large)
            small = None
            if self._num_small:
                rest = slice(self._num_views, None)
                small = warp_on_device(images, batch.request, taken, size=self._small_size, fill=self._fill, views=rest)
        current.wait_stream(self._stream)
        for made in (pixels, small):
            if made is not None:
                made.record_stream(current)
        return Views(pixels, rows, small)


def place_padded(pixels: Pixels, out: Pixels, fill: Fill) -> None:
    """Puts (h, w) pixels into the corner of a larger ``out`` (H, W); beyond them lies the fill, or their edge."""
    height, width = pixels.shape
    out[:height, :width] = pixels
    out[:height, width:] = pixels[:, -1:] if fill == "edge" else fill * steps(out.dtype)
    out[height:] = out[height - 1] if fill == "edge" else fill * steps(out.dtype)


def warp_on_device(
    images: torch.Tensor, request: Request, taken: Rows, *, size: int, fill: Fill, views: slice = slice(None)
) -> torch.Tensor:
    """Those ``views`` of the request, (V, B, 1, S, S), of padded pixels (B, H, W) on the device; ``taken``
    as in :meth:`pipeline.engines.samples.Samples.skip`."""
    device = images.device
    levels = grey_levels(images).unsqueeze(1)
    arrays = (shift_half_pixel(request.matrices), request.tones[..., :2], request.tones[..., 2])
    matrices, tones, gammas = (upload(torch.from_numpy(array[views, taken]).float(), device) for array in arrays)
    sigmas = torch.from_numpy(request.sigmas[views, taken])  # the host reads them
    has_gamma = bool((request.tones[..., 2] != 1).any())
    return torch.stack(
        [
            make_views_kornia(levels, m, size=size, fill=fill, sigmas=s, tones=t, gammas=g if has_gamma else None)
            for m, s, t, g in zip(matrices, sigmas, tones, gammas, strict=True)
        ]
    )
