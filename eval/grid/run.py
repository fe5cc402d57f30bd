"""A whole comparison: the cells that are missing are computed, then all are compared.

A grid that was interrupted goes on with the cells that are missing. Several processes, also of several machines that
share the output folder, work on one grid: each takes cells that nobody has (:mod:`shards.base.locks`); the same command
is started on each machine, and each ends with the same results.
"""

import dataclasses
import os
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from eval.grid.config import GridConfig
from eval.grid.plan import CellTask, Plan, make_plan, read_encoder
from eval.grid.work import CellWorker, is_kept
from eval.report.tables import csv_table, latex_tables
from eval.results.compare import Group, Statistics, compare
from eval.results.file import save_comparison
from eval.results.inputs import compare_inputs
from eval.results.subgroups import compare_subgroups
from eval.results.table import Comparison, Exposure, StartResult
from eval.stats.interval import replicates_for_holm
from eval.study.cells import Cell, CellKey, cell_path, joined, load_cell, save_cell
from eval.study.layers import LayerFeatures
from eval.study.starts import Start
from eval.words import NO_IMAGE
from shards.assumed import blanks_in_words, patients_in_words
from shards.base.atomic import atomic_write
from shards.base.bar import Bar
from shards.base.children import end_with_parent
from shards.base.dataclass_io import to_mapping
from shards.base.facts import num_cores, versions
from shards.base.locks import TELL_SECONDS, Lock, pause
from shards.base.words import as_called
from shards.checks.alike import num_repeated
from shards.index import ShardIndex
from shards.repeated import repeated_note
from train.encoders.seen import num_seen, seen_rows

_NO_START = StartResult(encoder="none", sources=[], hashes=[""], num_features=0)


def run_grid(config: GridConfig) -> Comparison:
    """Computes, compares, and writes ``results.json``, ``results.csv`` and ``results.tex`` into the output folder.

    Raises:
        InputError: a mistake in the settings or the data; as far as possible before anything is computed.
    """
    plan = make_plan(config)
    repeated = repeated_note(plan.cohort.index)
    if repeated:
        print(f"warning: --data: {repeated}; they count as different ones", file=sys.stderr)
    begin = time.perf_counter()
    if config.settings.jobs > 1 and len(_missing(plan, plan.tasks)) > 1:
        _compute_in_processes(config)
    compute_cells(plan)
    computed = time.perf_counter()
    comparison = _compared(plan)
    seconds = {"cells": computed - begin, "statistics": time.perf_counter() - computed}
    comparison = dataclasses.replace(comparison, seconds=seconds)
    write_results(comparison, config)
    return comparison


def write_results(comparison: Comparison, config: GridConfig) -> None:
    """The comparison for this program, for others and for papers."""
    save_comparison(comparison, config.output)
    for name, text in {"results.csv": csv_table([comparison]), "results.tex": latex_tables([comparison])}.items():
        atomic_write(config.output / name, f"{text}\n")


def compute_cells(plan: Plan, *, first: int = 0) -> None:
    """Computes what is missing, and waits for what others are computing.

    Args:
        first: number of the encoder to begin with, so that several processes begin with different ones.
    """
    worker = CellWorker(plan)
    encoders = list(dict.fromkeys(task.key.start for task in plan.tasks))
    turn = {name: (number - first) % len(encoders) for number, name in enumerate(encoders)}
    missing = _missing(plan, sorted(plan.tasks, key=lambda task: turn[task.key.start]) if first else plan.tasks)
    locks = {task.key: Lock(_lock_path(plan, task)) for task in missing}
    worked, is_told = time.monotonic(), first > 0
    with Bar(total=len(missing), desc="cells", unit="cell", disable=not missing or first > 0) as progress:
        while missing:
            left = []
            for task in missing:
                if _settle(plan, task, worker, locks[task.key]):
                    progress.update()
                else:
                    left.append(task)
            if len(left) < len(missing):
                worked = time.monotonic()
            elif not is_told and time.monotonic() - worked > TELL_SECONDS:
                Bar.write(f"waiting for {len(left)} cell(s): {locks[left[0].key].held_by()}", file=sys.stderr)
                is_told = True
            if left and len(left) == len(missing):
                pause()
            missing = left


def _lock_path(plan: Plan, task: CellTask) -> Path:
    path = cell_path(plan.cells, task.key)
    return path.with_name(f"{path.name}.lock")


def _settle(plan: Plan, task: CellTask, worker: CellWorker, lock: Lock) -> bool:
    """Whether the cell is there now: it was, or this process has computed it; not where another one is at it."""
    with lock.try_hold() as is_held:
        if _is_stored(plan, task):
            return True
        if not is_held:
            return False
        cell = worker.compute(task)
        if lock.is_lost():  # suspended meanwhile: another is at it, or has done it
            return False
        save_cell(plan.cells, cell)
        return True


def _missing(plan: Plan, tasks: list[CellTask]) -> list[CellTask]:
    return [task for task in tasks if not _is_stored(plan, task)]


def _is_stored(plan: Plan, task: CellTask) -> bool:
    cell = load_cell(plan.cells, task.key, fingerprint=task.fingerprint)
    return cell is not None and is_kept(plan, task, cell)


def _compute_in_processes(config: GridConfig) -> None:
    num_jobs = config.settings.jobs
    with ProcessPoolExecutor(
        num_jobs, mp_context=get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
    ) as pool:
        for done in [pool.submit(_work, config, number) for number in range(num_jobs)]:
            done.result()


def _work(config: GridConfig, number: int) -> None:
    """One process of several: its GPU if there are some, its share of the cores."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    if gpus != [""]:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    num_threads = max(1, num_cores() // config.settings.jobs)
    torch.set_num_threads(num_threads)
    with threadpool_limits(num_threads):
        compute_cells(make_plan(config), first=number)


def _compared(plan: Plan) -> Comparison:
    config, settings, cohort = plan.config, plan.config.settings, plan.cohort
    cells = _by_group(plan)
    statistics = Statistics(
        num_replicates=settings.replicates, level=settings.level, specificity=settings.specificity, seed=settings.seed
    )
    rows, num_dropped = compare(cells, cohort.scored, baseline=config.baseline, statistics=statistics)
    inputs = compare_inputs(cells, cohort.scored, statistics=statistics)
    num_differences = max(sum(row.difference is not None for row in rows), len(inputs))
    needed = replicates_for_holm(num_differences, level=settings.level) if num_differences else 0
    if settings.replicates < needed:
        print(
            f"warning: --replicates {settings.replicates}: too few for {num_differences} differences, none of which "
            f"can be sure after Holm's correction; give {needed} or more",
            file=sys.stderr,
        )
    subgroups, gaps = (
        compare_subgroups(
            cells,
            cohort.scored,
            baseline=config.baseline,
            statistics=statistics,
            index=cohort.index,
            uncertain=cohort.protocol.uncertain,
        )
        if settings.subgroups
        else ([], [])
    )
    exposures = [(name, start, _exposure(start, cohort.test)) for name, start in plan.starts.items()]
    return Comparison(
        command=as_called(shlex.join(["eval", *sys.argv[1:]])),
        config=to_mapping(config),
        data=[str(folder) for folder in settings.data],
        dataset="+".join(sorted(set(cohort.index.column("dataset")))),
        datasets=list(cohort.index.fingerprints),
        blanks=blanks_in_words(cohort.index, cohort.labels),
        unknown_patients=patients_in_words(cohort.index),
        num_repeated=sum(num_repeated(fold.parts.test, fold.parts.train) for fold in cohort.folds),
        labels=list(cohort.labels),
        starts={
            name: StartResult(
                encoder=start.encoders[0].name,
                sources=list(config.starts[name]),
                hashes=[encoder.hash for encoder in start.encoders],
                num_features=start.encoders[0].num_features,
                num_seen=exposure.num_images if exposure else _num_of_splits(start, cohort.test),
                exposure=exposure,
                about=start.encoders[0].about,
                layers=_layers_read(start, config.layers),
                seeds=[encoder.seed for encoder in start.encoders] if config.starts[name] == ("random",) else None,
            )
            for name, start, exposure in exposures
        }
        | ({NO_IMAGE: _NO_START} if any(task.encoder is None for task in plan.tasks) else {}),
        baseline=config.baseline,
        protocol=to_mapping(cohort.protocol),
        test=cohort.scored.counts(),
        rows=rows,
        subgroups=subgroups,
        gaps=gaps,
        inputs=inputs,
        level=settings.level,
        specificity=settings.specificity,
        num_replicates=settings.replicates,
        num_dropped=num_dropped,
        seed=settings.seed,
        views={name: to_mapping(start.encoders[0].views.evaluation()) for name, start in plan.starts.items()},
        versions=versions(("python", "moco-cxr", "torch", "numpy", "scikit-learn")),
        seconds={},
    )


def _layers_read(start: Start, layers: tuple[int, ...]) -> list[str]:
    read = read_encoder(start.encoders[0], layers)
    return list(read.modules_read) if isinstance(read, LayerFeatures) else []


def _num_of_splits(start: Start, test: ShardIndex) -> int:
    return max(num_seen(encoder.seen.trained_on, test) for encoder in start.encoders)


def _exposure(start: Start, test: ShardIndex) -> Exposure | None:
    """What a start's pretraining saw of the test set; None where that is not known image by image."""
    found = []
    for encoder in start.encoders:
        if encoder.seen.has_numbers:
            is_seen, is_of_patient = seen_rows(encoder.seen, test)
            num_patients = len(np.unique(test.patients()[is_of_patient]))
            found.append((int(is_seen.sum()), num_patients))
    if not found:
        return None
    num_images, num_patients = max(found)
    return Exposure(
        num_images=num_images, num_patients=num_patients, of_images=len(test), of_patients=test.num_patients
    )


def _by_group(plan: Plan) -> dict[Group, dict[str, list[Cell]]]:
    start_of = {encoder.id: name for name, start in plan.starts.items() for encoder in start.encoders}
    start_of[NO_IMAGE] = NO_IMAGE
    by_draw: dict[CellKey, list[Cell]] = {}  # those of all folds
    for task in sorted(plan.tasks, key=lambda task: (task.draw.draw, task.fold.number)):
        cell = load_cell(plan.cells, task.key, fingerprint=task.fingerprint)
        assert cell is not None, f"{task.key.name} vanished behind its computation"
        by_draw.setdefault(dataclasses.replace(task.key, fold=0), []).append(cell)
    cells: dict[Group, dict[str, list[Cell]]] = {}
    for key, of_folds in by_draw.items():
        group = cells.setdefault((key.readout, key.fraction), {})
        group.setdefault(start_of[key.start], []).append(joined(of_folds))
    order, starts = plan.config.readout, [*plan.starts, NO_IMAGE]
    ordered = sorted(cells.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return {key: {name: group[name] for name in starts if name in group} for key, group in ordered}
