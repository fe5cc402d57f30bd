"""Any folder of images: ``SPLIT/CLASS/image`` or ``CLASS/image``; the class folders become 0/1 labels.

Without split folders, all is ``train``. Nothing is known of patients, so each image counts as a patient of its own:
use ``--source table`` where a list knows the patients.
"""

from pathlib import PurePosixPath

from shards.base.errors import InputError
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key, printable
from shards.sources.release import Release, image_names

SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads a tree of images; images that lie outside a class folder are unlabelled.

    Raises:
        InputError: some of the top folders are splits and some are not.
    """
    folders = files.folders()
    is_split = [name.lower() in SPLITS for name in folders]
    if any(is_split) and not all(is_split):
        other = folders[is_split.index(False)]
        raise InputError(
            f"--input {files.label}: folder {other!r} beside split folders; keep train, valid and test only"
        )
    has_splits = any(is_split)
    images = [(name, PurePosixPath(name).parts) for name in image_names(files)]
    depth = 1 if has_splits else 0
    labels = tuple(sorted({printable(parts[depth]) for _, parts in images if len(parts) > depth + 1}))
    records: list[Record] = []
    rejected: list[Rejected] = []
    for name, parts in images:
        if has_splits and len(parts) == 1:
            message = "lies beside the split folders, so its split is unknown"
            rejected.append(Rejected(source_path=name, reason="no-split", message=message))
            continue
        label = printable(parts[depth]) if len(parts) > depth + 1 else None
        identity = str(PurePosixPath(name).with_suffix(""))
        records.append(
            Record(
                key=make_key(*PurePosixPath(identity).parts),
                name=name,
                source_path=name,
                split=SPLITS[parts[0].lower()] if has_splits else "train",
                patient_id=identity,
                study_id=identity,
                labels={other: int(other == label) for other in labels} if label else {},
            )
        )
    others = sorted(set(files.names()) - {name for name, _ in images})
    notes = [f"{len(others):,} files without an image's suffix were left out, such as {others[0]}"] if others else []
    return Release(labels=labels, records=records, rejected=rejected, notes=notes)
