"""Where checkpoints lie, free of torch: ``RUN/checkpoints/step-00000500/``."""

import re
from pathlib import Path

FOLDER = "checkpoints"
MARK = "complete.json"
"""The file that is written last and removed first; its folder is whole while it is there."""


def step_folder(checkpoints: Path, step: int) -> Path:
    """The folder of one checkpoint."""
    return checkpoints / f"step-{step:08d}"


def step_folders(checkpoints: Path) -> list[Path]:
    """What bears a checkpoint's name, newest first."""
    found = (path for path in checkpoints.glob("step-*") if re.fullmatch(r"step-\d{8}", path.name) and path.is_dir())
    return sorted(found, reverse=True)


def find_checkpoint(path: Path) -> Path | None:
    """The checkpoint that a path means: itself, wherever it was moved or linked to, or the one that it is a file of;
    None where it means none. A checkpoint need not be whole for that."""
    is_part = path.is_file() and re.fullmatch(r"state\.pt|rank-\d{5}\.pt|complete\.json", path.name)
    folder = path.parent if is_part else path
    if not folder.is_dir():
        return None
    is_named = re.fullmatch(r"step-\d{8}(\.part)?", folder.resolve().name) is not None
    return folder if is_named or (folder / MARK).is_file() else None


def run_of(path: Path) -> Path:
    """The folder of the run that a path is of: the one around a checkpoint or an encoder's file, or itself. A
    checkpoint that was moved out of its run stands alone."""
    checkpoint = find_checkpoint(path)
    if checkpoint is None:
        return path if path.is_dir() else path.parent
    within = checkpoint.resolve().parent
    return within.parent if within.name == FOLDER else checkpoint
