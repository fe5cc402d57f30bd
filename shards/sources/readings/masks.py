"""Lists of masks, a row a mask: boxes around them, image by image."""

from shards.format.boxes import Box
from shards.sources.copies import stem
from shards.sources.files import SourceFiles
from shards.sources.lists import read_list
from shards.sources.words.mask import NOTHING, mask_box

Boxes = dict[str, list[Box]]


def read_masks(
    files: SourceFiles, name: str, label: str, *, image: str, pixels: str, side: int
) -> tuple[Boxes, dict[str, str]]:
    """Boxes around the masks of each image, none where its row holds -1, and what is wrong with an image's rows.

    Args:
        image: the column of the image's name.
        pixels: the column of the run lengths.

    Raises:
        InputError: the list lacks a column, or cannot be read.
    """
    boxes: Boxes = {}
    problems: dict[str, str] = {}
    says_nothing: set[str] = set()
    for row in read_list(files, name, needed=(image, pixels)):
        key, text = stem(row.get(image)), row.get(pixels)
        of_image = boxes.setdefault(key, [])
        if row.problem or not key:
            problems[key] = row.problem or f"line {row.line}: no {image}"
        elif text in NOTHING:
            says_nothing.add(key)
        elif (box := mask_box(label, text, side=side)) is None:
            problems[key] = f"line {row.line}: {pixels} is no mask of {side} x {side} pixels"
        else:
            of_image.append(box)
    for key in says_nothing:
        if boxes[key] and key not in problems:
            problems[key] = f"one row says that there is no {label}, and another has a mask of it"
    return boxes, problems
