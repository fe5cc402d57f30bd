"""The DALI engine: encoded images by row or by DALI's WebDataset reader, decoded, warped and blurred by DALI.

On a CPU, two 224 px views (moco_cxr) of 320 px gray JPEGs take .65 s of a core per 1,000 images, of which decoding is
.28; with separate resize, rotate and normalise operators it is 3.3, and with a blur for half of the views 1.4.
``V`` views, ``B`` rows, ``S`` the view's side in pixels.
"""

import itertools
import weakref
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from pipeline.engines.contract import Buffers, Request, Views
from pipeline.engines.dali.feed import Feed, Source, reader_positions
from pipeline.engines.dali.graph import BATCHES_AHEAD, Graph
from pipeline.engines.samples import Samples
from pipeline.engines.warps import WHITE, raised, without_autocast
from pipeline.upload import upload
from pipeline.views import Fill

_GREY_LEVELS = np.arange(256.0)


class DaliEngine:
    """Views by DALI, on a GPU or on its CPU operators. A pipeline is built for each run, and lives no longer.

    An image that DALI cannot decode ends its pipeline. Then it is looked for with the decoders of :class:`Samples`, and
    named; or skipped, and another pipeline goes on with the same batch.

    Args:
        batch_size: the most rows a request has.
        num_small, small_size: of small crops, which requests have behind the ``num_views`` others.
        has_blur: requests may have sigmas above 0.
        sequential: rows will come in the order of the index. If they do, and it is that of the shards, on a local disk,
            and ``samples`` compares no checksums, DALI's own WebDataset reader reads them. THIS PATH SEES NO CHECKSUMS:
            damage that DALI can still decode goes unseen. Requests may leave that order; they are served by row then.
    """

    name = "dali"

    def __init__(
        self,
        samples: Samples,
        *,
        size: int,
        fill: Fill,
        device: torch.device,
        num_threads: int,
        batch_size: int,
        num_views: int,
        has_blur: bool,
        num_small: int = 0,
        small_size: int = 0,
        sequential: bool = False,
    ) -> None:
        self._samples, self._device, self._is_sequential = samples, device, sequential
        self._graph = Graph(
            size=size,
            fill=fill,
            device=device,
            num_threads=num_threads,
            batch_size=batch_size,
            num_views=num_views,
            has_blur=has_blur,
            num_small=num_small,
            small_size=small_size,
            kind=samples.kind,
        )
        self._buffers = [
            Buffers((number, batch_size, 1, side, side), keep=BATCHES_AHEAD + 1) for number, side in self._parts()
        ]
        self._runs: weakref.WeakSet[Generator[Views]] = weakref.WeakSet()

    def _parts(self) -> list[tuple[int, int]]:
        """Number and side of the views, and of the small crops where there are some."""
        graph = self._graph
        parts = [(graph.num_views, graph.size), (graph.num_small, graph.small_size)]
        return parts if graph.num_small else parts[:1]

    def run(self, requests: Iterable[Request]) -> Generator[Views]:
        run = self._run(requests)
        self._runs.add(run)
        return run

    def close(self) -> None:
        for run in list(self._runs):
            run.close()

    def _run(self, requests: Iterable[Request]) -> Generator[Views]:
        source = Source(requests)
        positions = reader_positions(self._samples, source, self._graph.batch_size) if self._is_sequential else None
        while source.peek(1):
            feed = Feed(self._samples, source, self._graph, positions=positions)
            yield from self._views(feed)
            positions = None  # what the reader did not take is read by row

    def _views(self, feed: Feed) -> Generator[Views]:
        """What comes of a feed, until it ends or its pipeline fails."""
        try:
            pipe = feed.build()
        except RuntimeError:
            if not feed.is_by_reader:
                raise
            return  # a shard that DALI's reader cannot open: reading by row says why
        make_views = self._make_on_cpu if self._device.type == "cpu" else self._make_on_gpu
        failure = None
        try:
            while failure is None and feed.prepare():
                try:
                    outputs = pipe.run(*self._stream())
                except RuntimeError as error:
                    failure = str(error)
                else:
                    shown = feed.in_flight.popleft().shown
                    pixels, *small = make_views(shown, outputs)
                    yield Views(pixels, shown.rows, *small)
        finally:
            del pipe  # and with it its threads, also where an error holds on to this frame
        if failure is not None:
            feed.give_back(failure)

    def _stream(self) -> tuple[torch.cuda.Stream, ...]:
        """On a GPU, the stream that DALI makes wait for its outputs, so that the host need not: the consumer's own.

        What is made of them there comes before what the consumer does with it; and DALI frees its memory in the
        stream's order, so after it has been read.
        """
        return (torch.cuda.current_stream(self._device),) if self._device.type == "cuda" else ()

    def _make_on_cpu(self, shown: Request, outputs: Sequence[Any]) -> list[torch.Tensor]:
        parts = [buffers.take()[:, : len(shown.rows)] for buffers in self._buffers]
        # One table look-up a pixel, the quickest way from uint8 to toned float32, is the copy out of DALI's memory too.
        gains, biases, gammas = np.split(shown.tones, 3, axis=-1)
        tables = (gains * WHITE * (_GREY_LEVELS / WHITE) ** gammas + biases).astype(np.float32)
        views = itertools.chain(*parts)
        for tone, table, output, pixels in zip(shown.tones, tables, outputs, views, strict=True):
            levels, made = np.asarray(output.as_tensor()), pixels[:, 0].numpy()
            for i in range(len(made)):
                if levels.dtype == np.uint8:
                    cv2.LUT(levels[i, :, :, 0], table[i], dst=made[i])
                else:
                    gain, bias, gamma = tone[i].tolist()
                    grey = levels[i, :, :, 0]
                    if gamma != 1:
                        grey, gain = cv2.pow(grey, gamma), gain * WHITE ** (1 - gamma)
                    cv2.addWeighted(grey, gain, grey, 0.0, bias, dst=made[i])
        return parts

    @without_autocast
    def _make_on_gpu(self, shown: Request, outputs: Sequence[Any]) -> list[torch.Tensor]:
        num_rows = len(shown.rows)
        parts = [torch.empty(number, num_rows, 1, side, side, device=self._device) for number, side in self._parts()]
        tones = upload(torch.from_numpy(shown.tones).float(), self._device)
        gain, bias, gamma = tones[..., None, None, None].unbind(2)
        has_gamma = bool((shown.tones[..., 2] != 1).any())
        with torch.cuda.device(self._device):
            for view, (output, pixels) in enumerate(zip(outputs, itertools.chain(*parts), strict=True)):
                levels = from_dlpack(output.as_tensor())[:num_rows].view(pixels.shape)
                if has_gamma:
                    levels = raised(levels, gamma[view])
                torch.addcmul(bias[view], levels, gain[view], out=pixels)
        return parts
