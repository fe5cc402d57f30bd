"""A kept classifier, wherever it lies: ``load_classifier`` is the one way to read it.

kept = load_classifier("runs/first/eval/finetune-chexpert-edema/cells/finetune/pretrained/1-draw0.run")
logits = kept.network(views)                           # (B, 1, S, S), by kept.image and kept.views -> (B, L)
probabilities = kept.calibration.probabilities(logits.numpy())
"""

from pathlib import Path

from eval.classifier.file import HEAD_FILE, KEEPS, load_image_classifier
from eval.classifier.kept import Kept
from eval.multimodal.file import MODEL_FILE, load_multimodal
from shards.base.errors import InputError
from train.encoders.file import FILES

_FILES = (HEAD_FILE, MODEL_FILE)
_SHOWN = 3


def load_classifier(path: str | Path, *, flag: str = "--model") -> Kept:
    """Reads what was kept by ``eval finetune``, ``linear``, ``few-shot`` or ``multimodal``.

    Args:
        path: folder of a cell (``.../cells/READOUT/START/FRACTION-drawN.run``), a file in it, or a folder of results
            or of a run that holds one such cell.
        flag: the option that named it, for errors.

    Returns:
        the network in evaluation mode on the CPU, labels, preprocessing and calibration; see
        :class:`eval.classifier.kept.Kept`.

    Raises:
        InputError: nothing there, no classifier was kept there (with the commands that keep one), or several were; it
            is damaged, of another version, or lacks its encoder.
    """
    folder = find_classifier(Path(path), flag=flag)
    return load_multimodal(folder) if (folder / MODEL_FILE).is_file() else load_image_classifier(folder)


def is_classifier(path: Path) -> bool:
    """Whether a path is the very folder of one, or the file by which it is one."""
    return path.name in _FILES if path.is_file() else any((path / name).is_file() for name in _FILES)


def holds_classifier(path: Path) -> bool:
    """Whether a path is one, or a folder of results around some; a run with its results is not."""
    if is_classifier(path):
        return True
    is_run = any((path / name).exists() for name in ("config.yaml", "config.json", FILES["query"]))
    return path.is_dir() and not is_run and any(True for name in _FILES for _ in path.rglob(name))


def find_classifier(path: Path, *, flag: str = "--model") -> Path:
    """The folder of the classifier that ``path`` means. Raises as :func:`load_classifier`."""
    if not path.exists():
        raise InputError(f"{flag} {path}: no such file or folder; give what was kept by {KEEPS}")
    if path.is_file():
        beside = [name for name in _FILES if (path.parent / name).is_file()]
        if not beside or path.suffix != ".safetensors":
            raise InputError(f"{flag} {path}: is no classifier, nor lies beside one; keep one by {KEEPS}")
        return path.parent
    if is_classifier(path):
        return path
    found = sorted({file.parent for name in _FILES for file in path.rglob(name)})
    if not found:
        raise InputError(f"{flag} {path}: holds no classifier; keep one by {KEEPS}")
    if len(found) > 1:
        more = ", ..." if len(found) > _SHOWN else ""
        listed = ", ".join(map(str, found[:_SHOWN]))
        raise InputError(f"{flag} {path}: holds {len(found)} classifiers; give one of {listed}{more}")
    return found[0]
