"""How a run goes: checked against its data, built, trained from its newest checkpoint on, and written down."""

import sys

import torch

from train.encoders.weights import describe_start
from train.engine.deepspeed import deepspeed_config, start_engine
from train.engine.optimizers import build_optimizer
from train.engine.precision import resolve_precision
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.ranks.stop import Stop, continuing_command
from train.ranks.watchdog import Watchdog
from train.ranks.world import describe_world, share_cores, start_processes
from train.run.checkpoint import Checkpoints, Progress
from train.run.data import select_rows, training_loader
from train.run.folder import check_run_folder, write_outcome, write_run_folder
from train.run.guards import LossWatch, compare_ranks
from train.run.knn import build_neighbours
from train.run.metrics_file import Scores
from train.run.model_card import hardware
from train.run.monitor import Monitor
from train.settings.checks import check_rows
from train.settings.config import PretrainConfig, has_queue
from train.settings.schedule import describe_rate, images_per_step, learning_rate, top_rate


def pretrain(config: PretrainConfig) -> None:
    """Runs ``config`` to its end, from the run folder's newest checkpoint if it has one, or until it is asked to stop.

    Raises:
        InputError: settings, data or run folder are not usable, found before anything is computed; or the loss is not
            finite, the ranks have come to differ, or nothing can be written.
    """
    # ---- check at the door
    world, run = describe_world(), config.run
    assert config.output is not None
    index = select_rows(config)
    largest_side = int(index.sizes().min(axis=1).max())
    check_rows(config, num_rows=len(index), world_size=world.size, largest_side=largest_side)
    check_run_folder(config)
    neighbours = build_neighbours(config, index, world)
    precision = resolve_precision(run.precision, world.device)
    ds_config = deepspeed_config(run, precision=precision, optimizer=config.optimizer.name)

    # ---- build
    share_cores(world)
    torch.use_deterministic_algorithms(run.deterministic)
    torch.backends.cudnn.benchmark = not run.deterministic
    start_processes(world)
    watchdog, stop = Watchdog(world), Stop(world)
    method = build_method(config, world, TrainingData(index))
    encoder = method.model.get_submodule("encoder")
    if run.compile:
        encoder.compile()
        if method.target is not None:
            method.target.get_submodule("encoder").compile()
    optimizer = build_optimizer(config.optimizer, method.model.parameters())
    engine = start_engine(method.model, optimizer, ds_config, world)
    loader = training_loader(config, index, world)
    images = images_per_step(run, world_size=world.size)
    if world.leads:
        rate = describe_rate(config.optimizer, batch=images)
        notes = [f"{hardware(world)}, {world.size} process(es), {precision}", loader.choice.reason]
        notes += [loader.partners.summary] if loader.partners else []
        print("\n".join([*notes, describe_start(encoder), rate]))
        write_run_folder(config, ds_config, note=rate)
    checkpoints = Checkpoints(
        config.output / "checkpoints",
        keep=run.keep_checkpoints,
        keep_best=run.keep_best,
        data=[len(index), *index.fingerprints],
        num_images=len(index),
        names={"method": config.method.name, "encoder": config.encoder.name},
        world=world,
    )
    progress = checkpoints.restore(engine=engine, method=method, loader=loader)
    num_batches = run.epochs * len(loader)
    num_steps = progress.step + (num_batches - progress.batch) // run.gradient_accumulation
    monitor = Monitor(
        config.output,
        start=progress,
        num_steps=num_steps,
        log_every=run.log_every,
        images_per_step=images,
        world=world,
        queue_size=config.method.queue_size if has_queue(config.method) else 0,
        neighbours=neighbours,
    )
    scores, losses = Scores(config.output, run), LossWatch(index, config.output, world)

    # ---- train; nothing in here waits for the device, except at intervals
    monitor.after_epoch(progress, encoder, loader=loader)
    monitor.start_clock(loader)
    is_stopping, is_step = False, True
    while progress.step < num_steps and not is_stopping:
        for batch in loader:
            if is_step:  # the batch before ended one
                epoch = progress.batch / len(loader)
                lr = learning_rate(
                    config.schedule, lr=top_rate(config.optimizer, batch=images), epoch=epoch, num_epochs=run.epochs
                )
                for group in engine.optimizer.param_groups:
                    group["lr"] = lr
                method.before_step(progress.batch / num_batches)
            objective = method.objective(engine, batch.views, rows=batch.rows, batch=progress.batch)
            engine.backward(objective.loss)
            method.after_backward()
            is_step = engine.is_gradient_accumulation_boundary()
            engine.step()
            monitor.observe(objective)
            losses.observe(objective.loss, progress, batch.rows)
            progress = Progress(step=progress.step + is_step, batch=progress.batch + 1)
            monitor.after_epoch(progress, encoder, loader=loader)
            if not is_step:
                continue
            is_stopping = stop.agreed() or progress.step == num_steps
            is_scored = scores.is_due(batch=progress.batch, batches_per_epoch=len(loader))
            saves = is_stopping or is_scored or progress.step % run.checkpoint_every == 0
            if saves or progress.step % run.log_every == 0:
                losses.check(checkpoints.last)
            if run.check_ranks and progress.step % run.check_ranks == 0:
                compare_ranks(method, world, step=progress.step)
            monitor.after_step(
                progress,
                objective,
                epoch=progress.batch / len(loader),
                lr=lr,
                loader=loader,
                before_checkpoint=saves,
            )
            if saves:
                score = scores.at(progress.step) if world.leads else None
                is_saved = checkpoints.save(progress, engine=engine, method=method, loader=loader, score=score)
                monitor.start_clock(loader)
            if is_stopping:
                break
    monitor.close()
    loader.close()
    if loader.skipped:
        example = next(iter(loader.skipped.values()))
        print(f"rank {world.rank} skipped {len(loader.skipped)} damaged image(s), such as {example}", file=sys.stderr)

    # ---- what comes out
    if world.leads and progress.step < num_steps:
        where = f"step {progress.step} of {num_steps}" if is_saved else f"{checkpoints.last}, the last that was written"
        print(f"stopped; this continues from {where}:\n{continuing_command(world)}")
    elif world.leads:
        write_outcome(config, method, index, step=progress.step, precision=precision, world=world)
    watchdog.close()
    stop.close()
    world.barrier()
    torch.distributed.destroy_process_group()
