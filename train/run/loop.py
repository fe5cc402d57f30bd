"""How a run goes: checked against its data, built, trained from its newest checkpoint on, and written down."""

import contextlib
import sys
from typing import Any

import torch

from shards.base.bar import Bar
from shards.base.dataclass_io import to_mapping
from train.encoders.saved import encoder_header
from train.engine.kernels import choose_kernels
from train.ranks.door import compare_facts, let_pass, pass_together
from train.ranks.stop import Stop
from train.ranks.watchdog import Watchdog
from train.ranks.world import World, describe_world, share_cores, start_processes
from train.run.agreement import facts_of_run
from train.run.checkpoint import Checkpoints
from train.run.data import training_loader
from train.run.findings import Found, look, tell
from train.run.folder import write_encoders_and_card, write_run_folder, write_seen
from train.run.guards import START, LossWatch, compare_ranks
from train.run.loggers.contract import Run
from train.run.loggers.opening import open_loggers
from train.run.metrics_file import CheckpointScores
from train.run.monitor import Monitor
from train.run.resumed import resumed_lines
from train.run.writer import Writer
from train.settings.config import PretrainConfig, has_queue
from train.settings.run_folder import epochs_in
from train.settings.schedule import describe_rate, images_per_step
from train.trainer import start_trainer


def pretrain(config: PretrainConfig) -> bool:
    """Runs a checked ``config`` to its end, from the run folder's newest checkpoint if it has one, or until it is asked
    to stop.

    Returns:
        whether it was stopped to go on later, by SIGUSR1.

    Raises:
        InputError: data or run folder are not usable, found before anything is computed; or the loss is not finite, the
            ranks have come to differ, or nothing can be written.
    """
    world, output = describe_world(), config.output
    assert output is not None
    if world.size > 1:  # the ranks meet first, so that what one of them finds at the door ends all
        start_processes(world)
    watchdog = Watchdog(world)
    found = pass_together(lambda: look(config, world), world)
    if world.size > 1:
        compare_facts(facts_of_run(config, found.index, precision=found.precision), world)
    writer = Writer(output)
    with contextlib.ExitStack() as held:
        let_pass(lambda: held.enter_context(writer.hold()), world)
        start_processes(world)
        ends = held if world.size == 1 else contextlib.ExitStack()  # among several, an error ends the process
        ends.callback(torch.distributed.destroy_process_group)
        ends.callback(watchdog.close)
        goes_on_later = _train(config, found, world=world, writer=writer, ends=ends)
        ends.close()
    return goes_on_later


def _train(config: PretrainConfig, found: Found, *, world: World, writer: Writer, ends: contextlib.ExitStack) -> bool:
    run, index, neighbours, precision = config.run, found.index, found.neighbours, found.precision
    assert config.output is not None

    # ---- build
    share_cores(world)
    choose_kernels(deterministic=run.deterministic)
    stop = Stop(world)
    ends.callback(stop.close)
    loader = training_loader(config, index, world)
    ends.callback(loader.close)
    trainer = start_trainer(config, index, world, batches_per_epoch=len(loader), ds_config=found.ds_config)
    encoder: Any = trainer.method.model.encoder
    about = None
    images = images_per_step(run, world_size=world.size)
    epochs_before = None
    if world.leads:
        epochs_before = epochs_in(config.output)
        rate = describe_rate(config.optimizer, batch=images)
        tell(config, found, loader, encoder, world)
        write_run_folder(config, found.ds_config, note=rate)
        about = write_seen(config, index, norm=encoder.norm_name, before=found.seen_before)
    checkpoints = Checkpoints(
        config.output / "checkpoints",
        keep=run.keep_checkpoints,
        keep_best=run.keep_best,
        data=[len(index), *index.fingerprints],
        num_images=len(index),
        names={"method": config.method.name, "encoder": config.encoder.name},
        world=world,
        header=encoder_header(encoder, **about) if about else None,
        check=writer.check,
    )
    checkpoints.restore(trainer, loader)
    start = trainer.progress
    compare_ranks(trainer.method, world, step=start.step, cause=START)
    more_steps, num_left = divmod(run.epochs * len(loader) - start.batch, run.gradient_accumulation)
    num_steps = start.step + more_steps
    if world.leads:
        told = resumed_lines(
            config,
            start,
            num_steps=num_steps,
            epochs_before=epochs_before,
            epoch=trainer.epoch,
            top_rate=trainer.top_rate,
        )
        print(*told, sep="\n", end="\n" if told else "", flush=True)
    if world.leads and num_left:
        print(f"note: the last {num_left} batches make no whole step of {run.gradient_accumulation}, and are left out")
    logged = Run(folder=config.output, settings=to_mapping(config), step=start.step)
    monitor = Monitor(
        config.output,
        start=start,
        num_steps=num_steps,
        log_every=run.log_every,
        images_per_step=images,
        world=world,
        queue_size=config.method.queue_size if has_queue(config.method) else 0,
        neighbours=neighbours,
        loggers=open_loggers(run.log, logged, _tell) if world.leads else (),
    )
    ends.callback(monitor.close, "failed")
    scores, losses = CheckpointScores(config.output, run), LossWatch(index, config.output, world)

    # ---- train; nothing in here waits for the device, except at intervals
    monitor.measure_knn_if_due(start, encoder, loader=loader)
    monitor.start_clock(loader)
    is_stopping = False
    while trainer.progress.step < num_steps and not is_stopping:
        for batch in loader:
            before = trainer.progress
            objective = trainer.step(batch.views, batch.rows)
            progress = trainer.progress
            monitor.observe(objective)
            losses.observe(objective.loss, before, batch.rows)
            monitor.measure_knn_if_due(progress, encoder, loader=loader)
            if not trainer.is_between_steps:
                continue
            is_stopping = stop.agreed() or progress.step == num_steps
            is_scored = scores.is_due(batch=progress.batch, batches_per_epoch=len(loader))
            saves = is_stopping or is_scored or progress.step % run.checkpoint_every == 0
            if saves or progress.step % run.log_every == 0:
                losses.check(checkpoints.last)
                if world.leads:
                    writer.check()
            if run.check_ranks and progress.step % run.check_ranks == 0:
                compare_ranks(trainer.method, world, step=progress.step)
            monitor.after_step(
                progress,
                objective,
                epoch=trainer.epoch,
                lr=trainer.lr,
                loader=loader,
                before_checkpoint=saves,
            )
            if saves:
                score = scores.at(progress.step) if world.leads else None
                is_saved = checkpoints.save(trainer, loader, score=score)
                monitor.start_clock(loader)
            if is_stopping:
                break
    monitor.close("finished" if trainer.progress.step == num_steps else "stopped")
    if loader.skipped:
        example = next(iter(loader.skipped.values()))
        print(f"rank {world.rank} skipped {len(loader.skipped)} damaged image(s), such as {example}", file=sys.stderr)

    # ---- what comes out
    step = trainer.progress.step
    if world.leads and step < num_steps:
        where = f"step {step} of {num_steps}" if is_saved else f"{checkpoints.last}, the last that was written"
        print(f"stopped; this continues from {where}:\n{stop.continuing}")
    elif about is not None:
        writer.check()
        write_encoders_and_card(config, trainer.method, index, about=about, step=step, precision=precision, world=world)
    return step < num_steps and stop.goes_on_later


def _tell(line: str) -> None:
    Bar.write(line, file=sys.stderr)
