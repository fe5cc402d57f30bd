"""Pretrains an encoder without labels; the same command continues a run that was stopped.

    deepspeed train/pretrain.py RECIPE --data DATASET [DATASET ...] --output RUN [--section.field VALUE ...]
    python train/pretrain.py RECIPE ...              the same in one process
    python train/pretrain.py --help                  recipes; RECIPE --help for all settings
    python train/pretrain.py RECIPE ... --dry-run    all checks, and what the run would take
    python train/pretrain.py RECIPE ... --fit        the nearest settings that fit, where some do not

How a run goes is :func:`train.run.loop.pretrain`. SIGINT (Ctrl-C) or SIGTERM finish the step, write a checkpoint and
exit with 0, SIGUSR1 with 75, which says that the run is to go on, as jobs of Slurm come again; SIGKILL loses what came
behind the last checkpoint.

Expect about 130 images/s for ``small_resnet18`` on one CPU core with AVX512-BF16 (measured on a busy machine).
"""

import os
import signal
import sys
import threading
import warnings
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt of the imports below has no more to say
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this clone's code, whichever one is installed

from shards.base.disk import refusal
from shards.base.errors import continuing, run_command
from train.ranks.place import leads_by, read_place
from train.ranks.watchdog import run_together
from train.settings.checks import FIT, check_config, settle
from train.settings.command import Asked, parse_command
from train.settings.config import PretrainConfig
from train.settings.fit import changes


def main() -> int:
    """Reads and checks the command, then trains; returns the exit code."""
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(os.EX_TEMPFAIL))  # until the run can write a checkpoint
    threading.excepthook = _leave_disks_to_main
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # each lost connection is a warning of 20 lines, beside ours
    asked, place = parse_command(sys.argv[1:]), read_place()
    if place.rank:
        warnings.simplefilter("ignore", UserWarning)  # the first process has the same settings and images
    with asked.spelling.spoken(), continuing():
        config = settled(asked, num_processes=place.size, opens_data=place.size == 1)
        if asked.dry_run:
            rehearse(asked, config, num_processes=place.size)
            return 0
        _tell_changes(asked, config)
        from train.run.loop import pretrain  # torch and all that goes with it: seconds no mistake should wait for

        return os.EX_TEMPFAIL if pretrain(config) else 0


def settled(asked: Asked, *, num_processes: int, opens_data: bool = True) -> PretrainConfig:
    """The settings of a command, which have been checked for so many processes.

    Args:
        opens_data: look at datasets and run folder as well. Ranks do so when they have met, and tell it once.

    Raises:
        InputError: all that is wrong with them.
    """
    if not opens_data and not asked.fit:
        check_config(asked.config, world_size=num_processes)
        return asked.config
    return settle(asked.config, world_size=num_processes, fit=asked.fit)


def rehearse(asked: Asked, config: PretrainConfig, *, num_processes: int) -> None:
    """The dry run of a command whose checked settings are ``config``, which is to train in so many processes."""
    from train.run.rehearsal import rehearse

    _tell_changes(asked, config)
    rehearse(config, num_processes=num_processes, preview=asked.preview)


def _tell_changes(asked: Asked, config: PretrainConfig) -> None:
    """What ``--fit`` has changed, once."""
    before = changes(config, asked.config)
    for name, value in changes(asked.config, config).items() if leads_by() else ():
        print(asked.spelling.of(f"{FIT}: {name} {value} in place of {before[name]}"), flush=True)


def _leave_disks_to_main(caught: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread hands an error of its disk on to the next write, where it is told in one line."""
    if refusal(caught.exc_value or Exception()) is None:
        threading.__excepthook__(caught)


if __name__ == "__main__":
    run_command(lambda: run_together(main))
