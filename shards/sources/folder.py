"""Any folder of images: ``SPLIT/CLASS/image``, ``CLASS/image`` or ``CLASS/SPLIT/image``; the class folders become 0/1
labels.

Folders around all of that do not count (``chest_xray/train/NORMAL``), nor do those that only say that images are in
them (``train/NORMAL/images``). Without split folders, all is ``train``. Nothing is known of patients, so each image
counts as a patient of its own: use ``--source table`` where a list knows the patients.
"""

from pathlib import PurePosixPath

from shards.base.errors import InputError
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key, printable
from shards.sources.release import Note, Release, image_names
from shards.sources.words.split import parse_split

Parts = tuple[str, ...]
_CONTAINERS = frozenset({"image", "images", "img", "imgs", "png", "jpg", "jpeg", "dicom", "dcm", "files", "pictures"})
_MASKS = frozenset({"mask", "masks", "lung masks", "infection masks", "segmentation", "segmentations", "labels"})


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads a tree of images; images that lie outside a class folder are unlabelled.

    Raises:
        InputError: some folders are splits and some beside them are not.
    """
    folders_of = {name: _folders(name) for name in image_names(files)}
    masks = [name for name, folders in folders_of.items() if any(part.lower() in _MASKS for part in folders)]
    images = {name: folders for name, folders in folders_of.items() if name not in set(masks)}
    depth = _split_depth(files, set(images.values()))
    classes = _one_spelling(_classes(images, depth))
    labels = tuple(sorted({label for label in classes.values() if label}))
    records: list[Record] = []
    rejected: list[Rejected] = []
    for name, folders in images.items():
        if depth is not None and len(folders) <= depth:
            message = "lies beside the split folders, so its split is unknown"
            rejected.append(Rejected(source_path=name, reason="no-split", message=message))
            continue
        label = classes[name]
        identity = str(PurePosixPath(name).with_suffix(""))
        split = "train" if depth is None else parse_split(folders[depth])
        assert split is not None
        records.append(
            Record(
                key=make_key(*PurePosixPath(identity).parts),
                name=name,
                source_path=name,
                split=split,
                patient_id=identity,
                study_id=identity,
                labels={other: int(other == label) for other in labels} if label else {},
                is_patient_known=False,
            )
        )
    notes = _notes(records, labels, depth)
    if masks:
        told = f"{len(masks):,} images below folders of masks were left out"
        notes.append(Note(f"{told}, such as {masks[0]}", bare=told))
    others = sorted(set(files.names()) - set(folders_of))
    if others:
        told = f"{len(others):,} files without an image's suffix were left out"
        notes.append(Note(f"{told}, such as {others[0]}", bare=told))
    return Release(labels=labels, records=records, rejected=rejected, notes=notes, found_labels=frozenset(labels))


def _folders(name: str) -> Parts:
    """The folders an image lies in. A Windows zip that was unpacked elsewhere can leave them in the file's name."""
    return PurePosixPath(name.replace("\\", "/")).parts[:-1]


def _split_depth(files: SourceFiles, trees: set[Parts]) -> int | None:
    """How deep the split folders lie: the first depth at which all folders are named as splits; None where they are
    nowhere."""
    around = _num_around(trees)
    for depth in range(max(map(len, trees), default=0)):
        split = {folders for folders in trees if len(folders) > depth and parse_split(folders[depth])}
        above = {folders[:place] for folders in split for place in range(depth + 1)}
        beside = sorted(trees - split - above)
        if split and not beside:
            return depth
        if split and depth <= around:
            raise InputError(
                f"--input {files.label}: folder {beside[0][min(depth, len(beside[0]) - 1)]!r} beside split folders "
                f"(there is {min(split)[depth]!r}); keep train, valid and test only",
                bare="--input: holds other folders beside split folders; keep train, valid and test only",
            )
    return None


def _classes(images: dict[str, Parts], depth: int | None) -> dict[str, str | None]:
    """The class of each image: its folder below the split, or else above it; without splits the first folder that is
    not around all images."""
    if depth is None:
        around = _num_around(set(images.values()))
        return {name: _first_class(folders[around:]) for name, folders in images.items()}
    below = {name: _first_class(_below(folders, depth)) for name, folders in images.items()}
    above = {name: _first_class(folders[depth - 1 : depth]) if depth else None for name, folders in images.items()}
    is_above = not any(below.values()) and len(set(above.values())) > 1
    return above if is_above else below


def _below(folders: Parts, depth: int) -> Parts:
    """The folders below the split, which some archives hold twice (``train/train/NORMAL``)."""
    while len(folders) > depth + 1 and parse_split(folders[depth]) == parse_split(folders[depth + 1]):
        depth += 1
    return folders[depth + 1 :]


def _one_spelling(classes: dict[str, str | None]) -> dict[str, str | None]:
    """The same class bears one name, where one split's folder is Normal and another's NORMAL."""
    names: dict[str, str] = {}
    for label in sorted({label for label in classes.values() if label}):
        names.setdefault(label.casefold(), label)
    return {name: label and names[label.casefold()] for name, label in classes.items()}


def _first_class(folders: Parts) -> str | None:
    return next((printable(part) for part in folders if part.lower() not in _CONTAINERS), None)


def _num_around(trees: set[Parts]) -> int:
    """How many folders lie around all images and only hold others: the last one with images of its own is a class."""
    around = 0
    while all(len(folders) > around + 1 for folders in trees) and len({folders[around] for folders in trees}) == 1:
        around += 1
    return around


def _notes(records: list[Record], labels: tuple[str, ...], depth: int | None) -> list[Note]:
    splits = sorted({record.split for record in records})
    if depth is None:
        found = f"class folders {', '.join(labels[:5])}" if labels else "no class folders"
        words = "train, training, valid, val, dev, test ..."
        told = f"no folder is named as a split ({words}), so by its folders all is train"
        return [Note(f"{told}; {found}", bare=told)]
    if len(splits) == 1:
        return [Note(f"the only split folder is of {splits[0]}")]
    return []
