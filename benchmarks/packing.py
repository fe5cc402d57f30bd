"""Packing beside a plain Pillow loop, a plain copy of the files, and decoding alone; and its peak memory.

    python -m benchmarks packing --nih NIH_FOLDER

Expect of full-size gray JPEGs (2828x2320), a worker: 2 to 2.5 times the rate of the Pillow loop, at 80-90 % of decoding
alone, because libjpeg decodes them at a quarter of the size; two idle cores double that. PNGs are bound by inflating,
and come to the loop's rate a worker. Images that pass unchanged are bound by decoding too, since each is decoded once
to see that it is whole: a tenth of the rate of a plain file copy.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image

from benchmarks.measuring.result import Comparison, Timing
from benchmarks.measuring.timing import time_variants
from benchmarks.settings import PackingConfig
from shards.base.children import local_workers
from shards.base.errors import InputError
from shards.images import jpeg
from shards.packing.build import BuildConfig, build_dataset

FULL_SIZE = (2828, 2320)  # of CheXpert; its 223,414 full-size images take 439 GB, so 2 MB each
_MEMORY_SCRIPT = """
import sys
from pathlib import Path
from shards.packing.build import BuildConfig, build_dataset

source, output, workers = sys.argv[1:]
config = BuildConfig(source="folder", input=Path(source), output=Path(output), workers=int(workers))
assert build_dataset(config).num_rejected == 0
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def run(config: PackingConfig) -> Iterator[Comparison | str]:
    """Times packing of three kinds of images, and describes its peak memory in words.

    Raises:
        InputError: no PNGs in the NIH folder.
    """
    if config.quick:
        config = replace(config, large=8, png=16, small=500, turns=min(config.turns, 3), memory=(1000,))
    workers = joblib.effective_n_jobs(config.workers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield _compare("full-size gray JPEGs to 320 px", _large_jpegs(config, folder / "large"), config, workers)
        yield _compare("1024 px PNGs to 320 px", _pngs(config, folder / "png"), config, workers)
        yield _compare("320 px JPEGs passed through", _small_jpegs(config.small, folder / "small"), config, workers)
        for number in config.memory:
            yield _peak_memory(number, folder / f"memory{number}")


def _compare(title: str, source: Path, config: PackingConfig, workers: int) -> Comparison:
    paths = sorted(source.rglob("*.*"))
    outputs = (source.parent / f"{source.name}-out{number}" for number in itertools.count())
    pass_through = title.endswith("through")

    def build(workers: int) -> None:
        shard_images = -(-len(paths) // (2 * workers))  # a shard costs some 50 ms of syncs, as one of 1,024 does
        settings = BuildConfig(
            source="folder", input=source, output=next(outputs), workers=workers, shard_images=shard_images
        )
        assert build_dataset(settings).num_packed == len(paths)

    def decode(workers: int) -> None:
        chunk = 1 + len(paths) // (4 * workers)
        parts = [paths[first : first + chunk] for first in range(0, len(paths), chunk)]
        with local_workers(workers):
            joblib.Parallel()(joblib.delayed(_decode)(part) for part in parts)

    variants: dict[str, Callable[[], object]] = {}
    if pass_through:
        variants["file copy, one process"] = lambda: _copy(paths, next(outputs))
        variants["file copy, synced to disk"] = lambda: _copy(paths, next(outputs), synced=True)
    else:
        variants["Pillow loop, one process"] = lambda: _pillow_loop(paths, next(outputs))
    variants["decode only, one process"] = lambda: decode(1)
    variants["build, one worker"] = lambda: build(1)
    if workers > 1:
        variants[f"decode only, {workers} processes"] = lambda: decode(workers)
        variants[f"build, {workers} workers"] = lambda: build(workers)
    timings = time_variants(variants, turns=config.turns, device=torch.device("cpu"))
    size = sum(path.stat().st_size for path in paths) / len(paths)
    return Comparison(
        title=title,
        work=f"{len(paths):,} files of {size / 1e3:,.0f} kB on average, in the page cache",
        rate=float(len(paths)),
        unit="images",
        timings=timings,
        remarks=tuple(_remarks(timings, len(paths), workers)),
    )


def _remarks(timings: dict[str, Timing], num_images: int, workers: int) -> list[str]:
    first = next(iter(timings))
    remarks = []
    for name, timing in timings.items():
        if not name.startswith("build"):
            continue
        used = 1 if name.endswith("one worker") else workers
        limit = timings["decode only, one process" if used == 1 else f"decode only, {workers} processes"]
        remarks.append(
            f"{name}: {num_images / timing.median / used:,.1f} images/s a core, {timing.speed / limit.speed:.0%} of "
            f"decoding alone, {timing.speed:.2f} times as fast as {first}"
        )
    return remarks


def _pillow_loop(paths: Sequence[Path], output: Path) -> None:
    output.mkdir()
    for path in paths:
        with Image.open(path) as image:
            scale = 320 / min(image.size)
            size = round(image.width * scale), round(image.height * scale)
            image.convert("L").resize(size, Image.Resampling.LANCZOS).save(output / f"{path.stem}.jpg", quality=95)


def _copy(paths: Sequence[Path], output: Path, *, synced: bool = False) -> None:
    output.mkdir()
    for path in paths:
        shutil.copyfile(path, output / path.name)
    if synced:
        os.sync()


def _decode(paths: Sequence[Path]) -> None:
    """Reads and decodes as the build does: JPEGs reduced, where it reduces them."""
    for path in paths:
        if path.suffix == ".jpg":
            data = path.read_bytes()
            with Image.open(path) as image:
                width, height = image.size
            jpeg.decode_gray(data, width=width, height=height, scale=min(1.0, 320 / min(width, height)))
        else:
            with Image.open(path) as image:
                image.load()


def _large_jpegs(config: PackingConfig, folder: Path) -> Path:
    """Gray JPEGs of CheXpert's full size: enlarged radiographs, or fields of smooth noise, with film grain."""
    (folder / "large").mkdir(parents=True)
    random = np.random.default_rng(0)
    sources = _nih_images(config.nih) if config.nih is not None else []
    for number in range(config.large):
        path = folder / "large" / f"{number:05d}.jpg"
        if number >= 24:
            os.link(folder / "large" / f"{number % 24:05d}.jpg", path)
            continue
        if sources:
            with Image.open(sources[number % len(sources)]) as image:
                field = image.convert("L").resize(FULL_SIZE, Image.Resampling.BICUBIC)
        else:
            field = _smooth_noise(random, FULL_SIZE)
        grain = random.normal(0.0, 5.0, size=(FULL_SIZE[1], FULL_SIZE[0])).astype(np.float32)
        pixels = np.clip(np.asarray(field, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
    return folder


def _pngs(config: PackingConfig, folder: Path) -> Path:
    """The first 1024 px PNGs of the release, under several names where a partial copy holds few; or made ones."""
    (folder / "png").mkdir(parents=True)
    if config.nih is not None:
        whole = list(itertools.islice((path for path in _nih_images(config.nih) if _side(path) == 1024), config.png))
        if not whole:
            raise InputError(f"--nih {config.nih}: none of its PNGs is of 1024 px; leave --nih out to have some made")
        for number in range(config.png):
            shutil.copyfile(whole[number % len(whole)], folder / "png" / f"{number:05d}.png")
        return folder
    random = np.random.default_rng(1)
    for number in range(config.png):
        _smooth_noise(random, (1024, 1024)).save(folder / "png" / f"{number:05d}.png")
    return folder


def _side(path: Path) -> int:
    with Image.open(path) as image:
        return min(image.size)


def _small_jpegs(count: int, folder: Path, *, kinds: int = 200) -> Path:
    """Stored-form JPEGs of 390x320, as CheXpert-small has them; ``kinds`` different ones, each under several names."""
    (folder / "small").mkdir(parents=True)
    random = np.random.default_rng(2)
    for number in range(count):
        path = folder / "small" / f"{number:06d}.jpg"
        if number >= kinds:
            os.link(folder / "small" / f"{number % kinds:06d}.jpg", path)
            continue
        grain = random.normal(0.0, 5.0, size=(320, 390)).astype(np.float32)
        field = np.asarray(_smooth_noise(random, (390, 320)), dtype=np.float32)
        Image.fromarray(np.clip(field + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return folder


def _smooth_noise(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    coarse, fine = (
        Image.fromarray(random.integers(0, 256, size=(side, side), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        for side in (12, 160)
    )
    return Image.blend(coarse, fine, alpha=0.3)


def _nih_images(folder: Path) -> list[Path]:
    paths = sorted((folder / "images").glob("*.png"))
    if not paths:
        raise InputError(f"--nih {folder}: no images/*.png there; give the folder of NIH ChestX-ray14")
    return paths


def _peak_memory(num_images: int, folder: Path) -> str:
    """Packs that many images in processes of their own, and says how much memory the build came to use."""
    source = _small_jpegs(num_images, folder)
    peaks = {}
    for workers in (1, 2):
        output = folder.parent / f"{folder.name}-out{workers}"
        command = [sys.executable, "-c", _MEMORY_SCRIPT, str(source), str(output), str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[workers] = int(done.stdout.split()[-1]) / 1024
        shutil.rmtree(output)
    shutil.rmtree(source)
    return (
        f"peak memory, {num_images:,} images: {peaks[1]:.0f} MB with one worker, {peaks[2]:.0f} MB beside two workers"
    )
