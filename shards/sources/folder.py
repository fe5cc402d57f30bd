"""Any folder of images: ``SPLIT/CLASS/image`` or ``CLASS/image``; the class folders become 0/1 labels.

Without split folders, all is ``train``. Nothing is known of patients, so each image counts as a patient of its own:
use a source that knows the patients where that matters.
"""

from pathlib import Path

from shards.errors import InputError
from shards.record import Record, Rejected, make_key
from shards.sources.release import Release, image_files

SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def read(root: Path) -> Release:
    """Reads a tree of images; images that lie outside a class folder are unlabelled.

    Raises:
        InputError: some of the top folders are splits and some are not.
    """
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    is_split = [name.lower() in SPLITS for name in folders]
    if any(is_split) and not all(is_split):
        other = folders[is_split.index(False)]
        raise InputError(f"--input {root}: folder {other!r} beside split folders; keep train, valid and test only")
    has_splits = any(is_split)
    images = [path.relative_to(root).parts for path in image_files(root)]
    depth = 1 if has_splits else 0
    labels = tuple(sorted({parts[depth] for parts in images if len(parts) > depth + 1}))
    records: list[Record] = []
    rejected: list[Rejected] = []
    for parts in images:
        source_path = "/".join(parts)
        if has_splits and len(parts) == 1:
            message = "lies beside the split folders, so its split is unknown"
            rejected.append(Rejected(source_path=source_path, reason="no-split", message=message))
            continue
        name = parts[depth] if len(parts) > depth + 1 else None
        identity = str(Path(*parts).with_suffix(""))
        records.append(
            Record(
                key=make_key(*Path(identity).parts),
                path=root.joinpath(*parts),
                source_path=source_path,
                split=SPLITS[parts[0].lower()] if has_splits else "train",
                patient_id=identity,
                study_id=identity,
                labels={label: int(label == name) for label in labels} if name else {},
            )
        )
    return Release(labels=labels, records=records, rejected=rejected)
