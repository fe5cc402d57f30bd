"""The folder that a run is to be written to: whether it is new, or of the run that a command goes on with."""

import os
from pathlib import Path

from shards.base.dataclass_io import differing_fields, from_yaml
from shards.base.errors import InputError, check_writable
from shards.base.stored import read_file
from train.settings.config import PretrainConfig

# What may differ between a command and the run it continues: it changes what is written when, not what is learnt.
_FREE = {
    "output",
    "data",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.keep_best",
    "run.check_ranks",
    "run.log",
    "run.log_every",
    "run.export_key",
    "run.knn_label",
    "run.knn_every",
    "run.knn_images",
    "run.knn_neighbours",
    "run.zero_stage",
    "loader.threads",
    "loader.resident_gb",
}


_CONFIG = "config.yaml"
_BESIDE = (".log", ".out", ".err", ".txt", ".sh", ".sbatch")


def check_run_folder(config: PretrainConfig) -> None:
    """Refuses to continue a run under other settings, but for more epochs. Moved data is fine: its contents are checked
    on their own.

    Raises:
        InputError: the folder holds a run of another config, or something else than a run.
    """
    folder = config.output
    assert folder is not None
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; give a folder")
    check_writable(folder)
    path = folder / _CONFIG
    if not os.path.lexists(path):
        _refuse_strangers(folder)
        return
    before = _config_in(path)
    differing = [name for name in differing_fields(before, config) if name not in _FREE]
    longer, shorter = before.run.epochs < config.run.epochs, before.run.epochs > config.run.epochs
    if longer:
        differing.remove("run.epochs")
    if differing == ["run.epochs"] and shorter:
        raise InputError(
            f"--output {folder}: its config.yaml has run.epochs {before.run.epochs}, and {config.run.epochs} are "
            "fewer; a run can be made longer only, so give as many or more, or a new folder"
        )
    if differing:
        raise InputError(
            f"--output {folder}: its config.yaml is of a run with other settings ({', '.join(differing)}); repeat its "
            "command as it was, or give a new folder"
        )


def epochs_in(folder: Path) -> int | None:
    """How many epochs the run in a folder was last asked for; None where there is none."""
    path = folder / _CONFIG
    return _config_in(path).run.epochs if os.path.lexists(path) else None


def _config_in(path: Path) -> PretrainConfig:
    try:
        return from_yaml(PretrainConfig, read_file(path))
    except InputError as error:
        why = "; ".join(str(error).splitlines())
        raise InputError(
            f"--output {path.parent}: its config.yaml is damaged or not of this version ({why}); copy it again, or "
            "give a new folder"
        ) from None


def _refuse_strangers(folder: Path) -> None:
    """Logs of whoever starts runs may be there before the run is."""
    entries = sorted(folder.iterdir()) if folder.exists() else []
    strangers = [path.name for path in entries if path.suffix not in _BESIDE and path.name != "run.lock"]
    if strangers:
        what = f"holds {', '.join(strangers[:3])} and no config.yaml"
        raise InputError(f"--output {folder}: {what}, so it is no run; choose a new or empty folder")
