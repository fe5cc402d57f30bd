"""Pretrains an encoder with Momentum Contrast; the same command continues a run that was stopped.

    deepspeed train/pretrain.py RECIPE --data DATASET [DATASET ...] --output RUN [--section.field VALUE ...]
    python train/pretrain.py RECIPE ...              the same in one process
    python train/pretrain.py --help                  recipes; RECIPE --help for all settings

Expect about 130 images/s for ``small_resnet18`` on one CPU core with AVX512-BF16 (measured on a busy machine).
"""

import os
import sys
import time
import warnings

import torch

from pipeline.loader import build_loader
from shards.errors import InputError, run_command
from train.checkpoint import Checkpoints, Progress
from train.command import parse_command
from train.config import PretrainConfig, check_config, check_rows, norm_strategy
from train.deepspeed_config import deepspeed_config
from train.engine import build_optimizer, start_engine
from train.export import save_encoder
from train.methods import build_method
from train.model_card import model_card
from train.monitor import Monitor, read_metrics
from train.plain import to_mapping
from train.precision import resolve_precision
from train.run_folder import check_run_folder, write_run_folder
from train.schedule import learning_rate
from train.selection import select_rows
from train.world import describe_world, share_cores, start_processes


def main() -> None:
    warnings.formatwarning = _one_line
    try:
        pretrain(parse_command(sys.argv[1:]))
    except InputError:
        if os.environ.get("RANK", "0") != "0":
            # Rank 0 says the same, and the launcher then stops this rank. If it still lives, it alone has failed.
            time.sleep(10)
        raise


def pretrain(config: PretrainConfig) -> None:
    """Runs ``config`` to its end, from the run folder's newest checkpoint if it has one.

    Raises:
        InputError: settings, data or run folder are not usable; found before anything is computed.
    """
    # ---- check at the door
    world, run = describe_world(), config.run
    check_config(config, world_size=world.size)
    assert config.output is not None
    index = select_rows(config)
    check_rows(config, num_rows=len(index), world_size=world.size)
    check_run_folder(config)
    precision = resolve_precision(run.precision, world.device)
    ds_config = deepspeed_config(run, precision=precision, optimizer=config.optimizer.name)

    # ---- build
    share_cores(world)
    torch.use_deterministic_algorithms(run.deterministic)
    torch.backends.cudnn.benchmark = not run.deterministic
    start_processes(world)
    method = build_method(config, world)
    optimizer = build_optimizer(config.optimizer, method.query.parameters())
    engine = start_engine(method.query, optimizer, ds_config, world)
    loader = build_loader(
        index,
        config.views,
        batch_size=run.batch_size,
        engine=config.loader.engine,
        device=world.device,
        seed=run.seed,
        rank=world.rank,
        world_size=world.size,
        shuffle=config.loader.shuffle,
        weights=config.loader.weights,
        num_threads=config.loader.threads or None,
        on_damage=config.loader.on_damage,
        checksums=config.loader.checksums,
        resident_bytes=round(1e9 * config.loader.resident_gb) or None,
    )
    if world.leads:
        print(loader.choice.reason)
    num_steps = run.epochs * len(loader) // run.gradient_accumulation
    if world.leads:
        write_run_folder(config, ds_config)
    data = [len(index), *index.fingerprints]
    checkpoints = Checkpoints(config.output / "checkpoints", keep=run.keep_checkpoints, data=data, world=world)
    progress = checkpoints.restore(engine=engine, method=method, loader=loader)
    monitor = Monitor(
        config.output,
        start=progress,
        num_steps=num_steps,
        log_every=run.log_every,
        images_per_step=run.batch_size * world.size * run.gradient_accumulation,
        world=world,
    )

    # ---- train; nothing in here waits for the device, except after_step at its intervals
    monitor.start_clock(loader)
    while progress.step < num_steps:
        for batch in loader:
            epoch = progress.batch / len(loader)
            if progress.batch % run.gradient_accumulation == 0:
                lr = learning_rate(config.schedule, lr=config.optimizer.lr, epoch=epoch, num_epochs=run.epochs)
                for group in engine.optimizer.param_groups:
                    group["lr"] = lr
                method.before_step()
            objective = method.objective(engine, batch.views, batch=progress.batch)
            engine.backward(objective.loss)
            method.after_backward()
            engine.step()
            monitor.observe(objective)
            is_step = (progress.batch + 1) % run.gradient_accumulation == 0
            progress = Progress(step=progress.step + is_step, batch=progress.batch + 1)
            if not is_step:
                continue
            saves = progress.step % run.checkpoint_every == 0 or progress.step == num_steps
            monitor.after_step(
                progress,
                objective,
                epoch=progress.batch / len(loader),
                lr=lr,
                loader=loader,
                before_checkpoint=saves,
            )
            if saves:
                checkpoints.save(progress, engine=engine, method=method, loader=loader)
                monitor.start_clock(loader)
            if progress.step == num_steps:
                break
    monitor.close()
    loader.close()
    if loader.skipped:
        example = next(iter(loader.skipped.values()))
        print(f"rank {world.rank} skipped {len(loader.skipped)} damaged image(s), such as {example}", file=sys.stderr)

    # ---- what comes out
    if world.leads:
        norm = "group" if norm_strategy(config, world.size) == "group" else "batch"
        save_encoder(
            config.output / "encoder.safetensors",
            method.query.get_submodule("encoder"),
            name=config.encoder.name,
            views=config.views,
            norm=norm,
            config=to_mapping(config),
            step=progress.step,
        )
        metrics = read_metrics(config.output / "metrics.jsonl")[-1]
        (config.output / "model_card.md").write_text(model_card(config, index, metrics=metrics, precision=precision))
        print(f"encoder written to {config.output / 'encoder.safetensors'}")
    world.barrier()
    torch.distributed.destroy_process_group()


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {message}\n"


if __name__ == "__main__":
    run_command(main)
