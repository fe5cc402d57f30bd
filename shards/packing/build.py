"""Packing: a release becomes a dataset folder of tar shards, DALI indexes and a Parquet index.

The unit of work is a shard, see :mod:`shards.packing.shard`. Repeating an interrupted command continues behind the
finished shards and ends with the same bytes.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.base.errors import writing
from shards.base.facts import versions
from shards.base.words import as_called, as_size
from shards.format.manifest import Checksum, file_checksum, read_manifest, write_manifest
from shards.format.rejected import read_rejected
from shards.format.schema import (
    FORMAT_VERSION,
    REJECTED_SCHEMA,
    SOURCE_HASH,
    TEXT_COLUMNS,
    index_schema,
    table_from_rows,
)
from shards.packing.backend import parallel_backend
from shards.packing.config import BuildConfig, check_build
from shards.packing.output import begin, check_output, remove_work
from shards.packing.plan import Plan, make_plan
from shards.packing.plan_text import describe, estimate
from shards.packing.progress import progress_bar
from shards.packing.refused import TooManyRejected, bound_to_fail, reasons_of, refuse_bound_to_fail, refuse_too_many
from shards.packing.shard import CONTINUES, WORK, finished_checksums, write_shard, write_table

__all__ = ["BuildConfig", "TooManyRejected", "Totals", "build_dataset", "plan_dataset", "run_build"]

_TOOLS = ("python", "moco-cxr", "numpy", "opencv-python-headless", "pillow", "pyarrow", "pydicom", "simplejpeg")


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a build came to: ``num_source = num_packed + num_rejected``. ``first`` tells for each reason one image that
    was rejected."""

    num_source: int
    num_packed: int
    num_rejected: int
    num_bytes: int
    num_patients: int
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    copies: str = ""


def run_build(config: BuildConfig, *, dry_run: bool = False) -> int:
    """Builds and prints what came of it; returns 1 where more images were rejected than allowed, else 0.

    Raises:
        InputError: as :func:`build_dataset`.
    """
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        print(text, flush=True)

    if dry_run:
        refuse_bound_to_fail(_plan(config, show))
        return 0
    start = time.perf_counter()
    try:
        totals = build_dataset(config, show_plan=show)
    except TooManyRejected as error:
        print(f"failed: {error}")
        return 1
    seconds = time.perf_counter() - start
    for note in totals.notes if not shown else ():  # the plan has them
        print(f"note: {note}")
    if totals.copies:
        print(f"note: {totals.copies}")
    print(
        f"{config.output}: {totals.num_source:,} images in = {totals.num_packed:,} packed + {totals.num_rejected:,} "
        f"rejected; {totals.num_patients:,} patients, {as_size(totals.num_bytes)}, {seconds:.1f} s"
    )
    for reason, count in sorted(totals.rejected_by_reason.items()):
        print(f"  rejected, {reason}: {count:,} (see {config.output / 'rejected.parquet'}); {totals.first[reason]}")
    if totals.num_rejected:
        print(f"  each with its reason: {as_called(f'shards stats {config.output} --rejected')}")
    return 0


def plan_dataset(config: BuildConfig) -> str:
    """The plan of a build in words, with a warning where that must fail by it; nothing is written. Raises as
    :func:`build_dataset` does before that makes its plan."""
    shown: list[str] = []
    _plan(config, shown.append)
    return shown[0]


def _plan(config: BuildConfig, show_plan: Callable[[str], None]) -> str:
    """Shows the plan, and returns why the build must fail by it; empty where it need not."""
    check_build(config)
    plan = make_plan(config)
    state = check_output(config.output, plan, versions(_TOOLS))
    shards = [] if state == "complete" else _unfinished(plan)
    if config.address is None:
        return _show(plan, shards, config, joblib.effective_n_jobs(config.workers), show_plan)
    with parallel_backend(config.backend, address=config.address, workers=config.workers) as workers:
        return _show(plan, shards, config, workers, show_plan)


def build_dataset(config: BuildConfig, *, show_plan: Callable[[str], None] | None = None) -> Totals:
    """Builds the dataset that ``config`` describes, or continues it, and returns its totals.

    ``show_plan`` is given the plan in words before anything is packed, which takes a few seconds of trying images.

    Raises:
        InputError: an input that is no such release or that changed since an interrupted build began, an output that
            cannot be written or holds something else, no space left; before anything is packed, if more images than
            allowed are refused already, of which ``show_plan`` adds those among the tried ones.
        TooManyRejected: the share of rejected images is above ``max_rejected``.
    """
    check_build(config)
    plan = make_plan(config)
    tools = versions(_TOOLS)
    with writing(config.output, then=CONTINUES):
        if check_output(config.output, plan, tools) != "complete":
            with parallel_backend(config.backend, address=config.address, workers=config.workers) as workers:
                refuse_bound_to_fail(_show(plan, _unfinished(plan), config, workers, show_plan))
                with begin(config.output, plan, tools):
                    _write_shards(plan, workers)
                    _write_dataset(plan, config, tools)
        remove_work(config.output)  # also what a build that was killed at its very end has left
    return _read_totals(plan, config)


def _unfinished(plan: Plan) -> list[str]:
    return [name for name in plan.rows if finished_checksums(name, plan.packing.output) is None]


def _show(
    plan: Plan, shards: list[str], config: BuildConfig, workers: int, show_plan: Callable[[str], None] | None
) -> str:
    """Shows the plan for shards still to be written, and returns why they would be written in vain; empty where they
    would not."""
    if show_plan is None:
        return bound_to_fail(plan, (), config) if shards else ""
    about = estimate(plan, shards)
    doom = bound_to_fail(plan, about.rejected, config) if shards else ""
    show_plan(describe(plan, shards, about, workers=workers, doom=doom))
    return doom


def _write_shards(plan: Plan, workers: int) -> None:
    shards = _unfinished(plan)
    num_left = sum(len(plan.rows[name]) for name in shards)
    if not shards:
        return
    processes = max(1, workers // len(shards))
    tasks = (joblib.delayed(write_shard)(plan.shard(name), plan.packing, processes=processes) for name in shards)
    work, num_done = plan.packing.output / WORK, len(plan.records) - num_left
    with progress_bar(work, total=len(plan.records), done=num_done, title=f"packing {plan.packing.dataset}"):
        num_written = sum(joblib.Parallel(batch_size=1)(tasks))
    assert num_written == num_left


def _write_dataset(plan: Plan, config: BuildConfig, tools: dict[str, str]) -> None:
    output, work = plan.packing.output, plan.packing.output / WORK
    refused = [table_from_rows([asdict(r) for r in plan.rejected], REJECTED_SCHEMA)]
    refused += [pq.read_table(work / f"{name}.rejected") for name in plan.rows]
    rejected = pa.concat_tables(refused).combine_chunks()
    write_table(rejected, output / "rejected.parquet", scratch=work)
    refuse_too_many(rejected, plan.num_source, config)
    index = _join_rows(plan)
    assert len(index) + len(rejected) == plan.num_source, "images in = images packed + images rejected"
    write_table(index, output / "index.parquet", scratch=work)
    files: dict[str, Checksum] = {}
    for name in plan.rows:
        files |= finished_checksums(name, output) or {}
    files |= {name: file_checksum(output / name) for name in ("index.parquet", "rejected.parquet")}
    about = {
        "format_version": FORMAT_VERSION,
        "name": plan.packing.dataset,
        "source": config.source,
        "image": asdict(plan.packing.spec),
        "labels": list(plan.packing.labels),
        "blanks": dict(plan.blanks),
        **({"kept_columns": list(plan.packing.kept)} if plan.packing.kept else {}),
        "totals": {
            "source_images": plan.num_source,
            "images": len(index),
            "rejected": len(rejected),
            "patients": len(index["patient_id"].unique()),
            "images_without_patient": len(
                {record.key for record in plan.records if not record.is_patient_known}.intersection(
                    index["key"].to_pylist()
                )
            ),
            "bytes": int(np.sum(index["length"].to_numpy())),
            "images_by_split": dict(sorted(Counter(index["split"].to_pylist()).items())),
        },
        "pseudonymised": config.pseudonymise is not None,
        "fingerprint": plan.fingerprint,
        "options_fingerprint": plan.options,
        "source_fingerprint": plan.source,
        **({"split": config.split, "split_seed": config.split_seed} if config.split is not None else {}),
        "seed": config.seed,
        "shard_images": config.shard_images,
        "tools": tools,
    }
    write_manifest(output, about, files, scratch=work)


def _join_rows(plan: Plan) -> pa.Table:
    packing = plan.packing
    schema = index_schema(packing.labels, kept=packing.kept, has_boxes=packing.has_boxes)
    work = plan.packing.output / WORK
    tables = [pq.read_table(work / f"{name}.parquet", schema=schema) for name in plan.rows]
    index = pa.concat_tables(tables).combine_chunks().replace_schema_metadata(schema.metadata)
    return index.drop_columns([text for text in TEXT_COLUMNS if index[text].null_count == len(index)])


def _copies(output: Path) -> str:
    """What is to be said of images whose files are byte for byte those of others; empty where there are none."""
    if SOURCE_HASH not in pq.read_schema(output / "index.parquet").names:  # of an earlier build
        return ""
    index = pq.read_table(output / "index.parquet", columns=["split", SOURCE_HASH])
    groups = index.group_by(SOURCE_HASH).aggregate([("split", "count_distinct"), ([], "count_all")])
    num_copies = len(index) - len(groups)
    if not num_copies:
        return ""
    num_across = pc.sum(pc.greater(groups["split_count_distinct"], 1)).as_py()
    across = f", {num_across:,} files being in several splits" if num_across else ""
    told = f"{num_copies:,} images are byte for byte the files of others{across}"
    return f"{told}; {as_called(f'shards stats {output}')} says which"


def _read_totals(plan: Plan, config: BuildConfig) -> Totals:
    totals = read_manifest(config.output)["totals"]
    rejected = read_rejected(config.output)
    refuse_too_many(rejected, plan.num_source, config)
    assert plan.num_source == totals["images"] + totals["rejected"], "images in = images packed + images rejected"
    return Totals(
        num_source=plan.num_source,
        num_packed=totals["images"],
        num_rejected=totals["rejected"],
        num_bytes=totals["bytes"],
        num_patients=totals["patients"],
        rejected_by_reason=reasons_of(rejected),
        first={row["reason"]: f"{row['source_path']}: {row['message']}" for row in reversed(rejected.to_pylist())},
        notes=plan.notes,
        copies=_copies(config.output),
    )
