"""How our engines do with more threads, and how soon an epoch starts at CheXpert's full size."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.loader.feeds import DECODING, Feed, Setting, consume
from benchmarks.measuring.resources import cpu_seconds
from benchmarks.measuring.result import Comparison, beside_target
from benchmarks.measuring.timing import time_variants
from pipeline.device import find_device
from pipeline.loader import Loader, build_loader
from pipeline.order import Order
from shards.format.manifest import MANIFEST, file_checksum, read_manifest, write_manifest
from shards.index import ShardIndex


def compare_threads(feeds: Sequence[Feed], setting: Setting, *, turns: int) -> list[Comparison]:
    """Each feed with 1, 2, 4, ... threads up to the setting's."""
    steps = [1 << i for i in range(setting.threads.bit_length()) if 1 << i < setting.threads] + [setting.threads]
    return [_compare_threads(feed, setting, steps, turns=turns) for feed in (*feeds, DECODING)]


def _compare_threads(feed: Feed, setting: Setting, steps: Sequence[int], *, turns: int) -> Comparison:
    device = find_device(setting.device)
    num_images = len(setting.index())
    with ExitStack() as stack:
        variants: dict[str, Callable[[], object]] = {}
        for number in steps:
            one_pass = stack.enter_context(feed.open(replace(setting, threads=number)))
            variants[_threads(number)] = lambda one_pass=one_pass: consume(one_pass(), device)  # type: ignore[misc]
        timings = time_variants(variants, turns=turns, device=device, cpu_clock=cpu_seconds)
    comparison = Comparison(
        title=f"{feed.name}: scaling with threads, {setting.size} px",
        work=f"{num_images:,} images, batch {setting.batch}",
        rate=float(num_images),
        unit="images",
        are_rivals=False,
        timings=timings,
    )
    if len(steps) == 1:
        return comparison
    gain = comparison.speedup(_threads(steps[-1]), _threads(1))
    return replace(comparison, remarks=(f"{steps[-1]} threads are {gain:.2f} times as fast as one",))


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def compare_epoch_starts(setting: Setting, folder: Path, *, num_rows: int, turns: int) -> Comparison:
    """How long an epoch of ``num_rows`` takes to its first batch, and how long its order alone.

    The dataset's rows are repeated in an index of that length, so that the batch that comes is a real one.
    """
    device = find_device(setting.device)
    index = ShardIndex.open(repeat_rows(setting.data, folder / "repeated", num_rows))
    small = setting.index()
    variants: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        for name, selection in ((f"first batch of {len(small):,} rows", small), (f"of {num_rows:,} rows", index)):
            loader = stack.enter_context(
                build_loader(
                    selection,
                    setting.spec,
                    batch_size=setting.batch,
                    engine="kornia",
                    device=device,
                    num_threads=setting.threads,
                )
            )
            variants[name] = lambda loader=loader: _take_first(loader)  # type: ignore[misc]
        order = Order(num_rows, seed=0, batch_size=setting.batch)
        epochs = iter(range(1 << 30))
        variants["its order alone"] = lambda: next(order.batches(next(epochs)))
        timings = time_variants(variants, turns=turns, device=device)
    seconds = timings[f"of {num_rows:,} rows"].median
    asked = beside_target("under 1 s", is_met=seconds < 1)
    return Comparison(
        title="epoch start",
        work=f"kornia, batch {setting.batch}, {setting.size} px; from asking for an epoch to its first batch",
        rate=1.0,
        unit="epochs",
        are_rivals=False,
        timings=timings,
        remarks=(f"an epoch of {num_rows:,} rows starts within {seconds:.2f} s {asked}",),
    )


def _take_first(loader: Loader) -> None:
    """Takes the first batch of the next epoch, and drops the rest of it."""
    loader.load_state_dict({**loader.state_dict(), "epoch": loader.epoch + 1, "position": 0})
    batches = iter(loader)
    next(batches)
    del batches  # ends the epoch's work


def repeat_rows(data: Path, folder: Path, num_rows: int) -> Path:
    """A dataset folder with ``num_rows`` rows: those of ``data`` over and over, in the same shards, by link."""
    shutil.copytree(data, folder, copy_function=lambda source, target: Path(target).symlink_to(Path(source).resolve()))
    table = pq.read_table(data / "index.parquet")
    taken = np.arange(num_rows) % len(table)
    rounds = np.arange(num_rows) // len(table)
    repeated = table.take(pa.array(taken))
    keys = [f"{key}_{number}" for key, number in zip(repeated["key"].to_pylist(), rounds.tolist(), strict=True)]
    repeated = repeated.set_column(repeated.schema.get_field_index("key"), "key", pa.array(keys))
    (folder / "index.parquet").unlink()
    pq.write_table(repeated.replace_schema_metadata(table.schema.metadata), folder / "index.parquet")
    about = read_manifest(data)
    (folder / MANIFEST).unlink()
    write_manifest(folder, about, about["files"] | {"index.parquet": file_checksum(folder / "index.parquet")})
    return folder
