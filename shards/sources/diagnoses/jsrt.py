"""JSRT (Shiraishi et al., AJR 2000): 247 digitised films, 154 with a lung nodule that CT confirmed and 93 without one.

Images are raw: ``JPCLN001.IMG`` (nodule) and ``JPCNN001.IMG``, 2048 x 2048 pixels of 12 bits as big-endian numbers of
16, without a header, white at 0 (:mod:`shards.images.raw`); PNG or other copies of these names are read as well.
``CLNDAT_EN.txt`` has a row a nodule: subtlety (1 to 5), size in mm, age, sex, place in pixels, malignant or benign;
``CNNDAT_EN.txt`` age and sex of the others, set with blanks where the first has tabs. The box is a square of the
nodule's size around its place, at .175 mm a pixel. The set has no split and a film a patient.

Written from the paper and from public code that reads the lists, not from the images, which ask for an account.
"""

import re
from pathlib import PurePosixPath

from shards.base.errors import OptionError
from shards.format.boxes import Box
from shards.sources.copies import images_by_stem, join_images
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release, read_text
from shards.sources.words.patient import parse_age, parse_sex

LABELS = ("Nodule", "Malignant Nodule")
SIDE = 2048
_MM = 0.175
_LISTS = re.compile(r"C(L|N)NDAT_EN\.txt", re.IGNORECASE)
_NODULE = re.compile(
    r"(?P<name>JPCLN\d{3})\.IMG\s+(?P<subtlety>[1-5])\s+(?P<size>\d+(?:\.\d+)?)\s+(?P<age>\S+)\s+(?P<sex>\w+)\s+"
    r"(?P<x>\d+)\s+(?P<y>\d+)\s+(?P<kind>malignant|benign)\b.*",
    re.IGNORECASE,
)
_NONE = re.compile(r"(?P<name>JPCNN\d{3})\.IMG\s+(?P<age>\S+)\s+(?P<sex>\w+)\b.*", re.IGNORECASE)


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the set from a folder that holds its two lists and images, in any folders.

    Raises:
        InputError: no list.
    """
    lists = [name for name in files.names() if _LISTS.fullmatch(PurePosixPath(name).name)]
    if not lists:
        raise OptionError(f"--input {files.label}: no CLNDAT_EN.txt and CNNDAT_EN.txt there; is this the JSRT set?")
    listed: list[Record | Rejected] = []
    for name in lists:
        for number, line in enumerate(read_text(files, name).splitlines(), 1):
            if line.strip():
                listed.append(_item(line.replace(",", " "), f"{name}, line {number}"))
    records, rejected, notes = join_images(listed, images_by_stem(files, also=(".img",)))
    return Release(labels=LABELS, records=records, rejected=rejected, notes=notes)


def _item(line: str, where: str) -> Record | Rejected:
    found = _NODULE.fullmatch(line.strip()) or _NONE.fullmatch(line.strip())
    if found is None:
        message = f"{where}: {line.strip()[:60]!r} is no row of this set"
        return Rejected(source_path=line.split(".")[0].strip() or where, reason="bad-row", message=message)
    said = found.groupdict()
    boxes: tuple[Box, ...] = ()
    if "x" in said:
        side = float(said["size"]) / _MM
        left, top = float(said["x"]) - side / 2, float(said["y"]) - side / 2
        boxes = (Box("Nodule", left, top, side, side),)
    name = said["name"].upper()
    return Record(
        key=make_key(name),
        name=name,
        source_path=name,
        split="train",
        patient_id=name,
        study_id=name,
        view="frontal",
        projection="PA",
        sex=parse_sex(said["sex"]),
        age=parse_age(said["age"]),
        labels={"Nodule": len(boxes), "Malignant Nodule": int(said.get("kind", "").lower() == "malignant")},
        boxes=boxes,
        box_frame=(SIDE, SIDE),
    )
