"""Peers of the loader: what anyone would pick instead, on the same images. Those with threads, and the list of all.

Each is as its own documentation has it, for gray images and in its stronger form.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import torch

from benchmarks.loader.feeds import Batch, Feed, Pass, Setting
from benchmarks.loader.workers import LIGHTLY, NEAREST, REFERENCE, WEBDATASET
from pipeline.device import find_device
from pipeline.engines.contract import Request, Rows
from pipeline.engines.samples import decode_gray
from pipeline.engines.warps import make_views, to_pixels
from pipeline.plan import plan_batch
from pipeline.views import ViewSpec
from shards.index import ShardIndex

__all__ = ["DALI_CHAIN", "KORNIA_SEQUENTIAL", "LIGHTLY", "NEAREST", "PEERS", "REFERENCE", "SPDL", "WEBDATASET"]

_BATCHES_AHEAD = 3


@contextmanager
def _spdl(setting: Setting) -> Iterator[Pass]:
    """SPDL's thread pipeline around our own decoder and warp, into fresh memory as its users have it."""
    from spdl.pipeline import PipelineBuilder

    index, spec = setting.index(), setting.spec
    sizes = index.sizes()
    epochs = iter(range(1 << 30))

    def one_pass() -> Iterator[Batch]:
        epoch = next(epochs)

        def make(positions: Rows) -> Batch:
            passes = np.full(len(positions), epoch)
            rows = index.rows[positions]
            return _make_batch(
                index, spec, plan_batch(spec, rows=rows, sizes=sizes[positions], passes=passes, seed=0, num_views=2)
            )

        order = np.random.default_rng(epoch).permutation(len(index)).reshape(-1, setting.batch)
        pipeline = (
            PipelineBuilder()
            .add_source(iter(order))
            .pipe(make, concurrency=setting.threads)
            .add_sink(_BATCHES_AHEAD)
            .build(num_threads=setting.threads)
        )
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    cv2.setNumThreads(1)
    yield one_pass


def _make_batch(index: ShardIndex, spec: ViewSpec, request: Request) -> Batch:
    inverses = np.ascontiguousarray(to_pixels(request.matrices).swapaxes(0, 1))
    tones = np.ascontiguousarray(request.tones.swapaxes(0, 1))
    made = np.empty((len(request.matrices), len(request.rows), 1, spec.size, spec.size), dtype=np.float32)
    for i, row in enumerate(request.rows.tolist()):
        views, sigmas = made[:, i, 0], request.sigmas[:, i]
        make_views(decode_gray(index.read(row)), inverses[i], views, fill=spec.fill, tones=tones[i], sigmas=sigmas)
    return torch.from_numpy(made).unbind(0)


@contextmanager
def _kornia_sequential(setting: Setting) -> Iterator[Pass]:
    """Threads decode squares into a batch; Kornia's separate augmentations make the views of it on the device."""
    import kornia.augmentation as augmentation

    index, spec, device = setting.index(), setting.spec, find_device(setting.device)
    mean, std = torch.tensor([spec.mean]), torch.tensor([spec.std])
    one = augmentation.AugmentationSequential(
        augmentation.Resize((spec.size, spec.size)),
        augmentation.RandomHorizontalFlip(p=spec.flip),
        augmentation.RandomRotation(spec.rotation, p=1.0),
        augmentation.Normalize(mean, std),
        data_keys=["input"],
    ).to(device)
    side = int(np.median(index.sizes().min(axis=1)))

    def decode(rows: Rows, out: np.ndarray) -> None:
        for row, square in zip(rows.tolist(), out, strict=True):
            square[:] = _centre_square(decode_gray(index.read(row)), side)

    def make(images: np.ndarray) -> Batch:
        levels = torch.from_numpy(images).to(device).unsqueeze(1).float() / 255
        return one(levels), one(levels)

    def one_pass() -> Iterator[Batch]:
        order = np.random.default_rng().permutation(index.rows)
        ahead: deque[tuple[np.ndarray, list[Future[None]]]] = deque()
        for batch in order.reshape(-1, setting.batch):
            images = np.empty((len(batch), side, side), dtype=np.uint8)
            slices = zip(np.array_split(batch, setting.threads), np.array_split(images, setting.threads), strict=True)
            ahead.append((images, [pool.submit(decode, rows, out) for rows, out in slices]))
            if len(ahead) == _BATCHES_AHEAD:
                yield make(_decoded(ahead.popleft()))
        while ahead:
            yield make(_decoded(ahead.popleft()))

    with ThreadPoolExecutor(setting.threads) as pool, torch.no_grad():
        yield one_pass


def _decoded(batch: tuple[np.ndarray, list[Future[None]]]) -> np.ndarray:
    images, futures = batch
    for future in futures:
        future.result()
    return images


def _centre_square(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    square = pixels[top : top + shorter, left : left + shorter]
    return square if shorter == side else cv2.resize(square, (side, side))


@contextmanager
def _dali_chain(setting: Setting) -> Iterator[Pass]:
    """DALI with an operator for each step: decode, resize, then rotate and crop-mirror-normalise each view."""
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import Pipeline
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    index, spec = setting.index(), setting.spec
    on_gpu = setting.device == "cuda"
    waiting: Iterator[Rows] = iter(())

    def next_batch() -> list[np.ndarray]:
        return [np.frombuffer(index.read(row), dtype=np.uint8) for row in next(waiting).tolist()]

    pipe = Pipeline(
        batch_size=setting.batch,
        num_threads=setting.threads,
        device_id=torch.cuda.current_device() if on_gpu else None,
        prefetch_queue_depth=2,
    )
    with pipe:
        encoded = fn.external_source(source=next_batch, batch=True, dtype=types.UINT8)
        images = fn.decoders.image(encoded, device="mixed" if on_gpu else "cpu", output_type=types.GRAY)
        images = fn.resize(images, resize_shorter=spec.size)
        views = []
        for _ in range(2):
            angle = fn.random.uniform(range=(-spec.rotation, spec.rotation))
            rotated = fn.rotate(images, angle=angle, keep_size=True, fill_value=0)
            views.append(
                fn.crop_mirror_normalize(
                    rotated,
                    crop=(spec.size, spec.size),
                    crop_pos_x=fn.random.uniform(range=(0.0, 1.0)),
                    crop_pos_y=fn.random.uniform(range=(0.0, 1.0)),
                    mirror=fn.random.coin_flip(probability=spec.flip),
                    mean=[255 * spec.mean],
                    std=[255 * spec.std],
                    dtype=types.FLOAT,
                    output_layout="CHW",
                )
            )
        pipe.set_outputs(*views)
    pipe.build()
    batches = DALIGenericIterator(pipe, ["first", "second"], prepare_first_batch=False)
    is_used = False

    def one_pass() -> Iterator[Batch]:
        nonlocal waiting, is_used
        waiting = iter(np.random.default_rng().permutation(index.rows).reshape(-1, setting.batch))
        if is_used:
            batches.reset()  # what is prefetched is of this pass
        is_used = True
        for (batch,) in batches:
            yield batch["first"], batch["second"]

    yield one_pass


SPDL = Feed(name="SPDL threads, our decoder and warp", open=_spdl, modules=("spdl.pipeline",))
KORNIA_SEQUENTIAL = Feed(
    name="Kornia AugmentationSequential", open=_kornia_sequential, modules=("kornia.augmentation",)
)
DALI_CHAIN = Feed(
    name="DALI operator chain", open=_dali_chain, modules=("nvidia.dali.fn", "nvidia.dali.plugin.pytorch")
)

PEERS = (REFERENCE, NEAREST, LIGHTLY, WEBDATASET, KORNIA_SEQUENTIAL, DALI_CHAIN, SPDL)
"""The reference first. Those with worker processes come before those with threads: they fork."""
