"""SIIM-ACR Pneumothorax Segmentation (Kaggle 2019): ``train-rle.csv`` and DICOM files named by their UIDs.

Masks are run lengths of 1024 x 1024 pixels, one a row; an image with several has several rows, one without
pneumothorax holds -1. Of a mask the box around it is kept. Images are of NIH's ChestX-ray14; view, sex, age and
patient are in the headers. Images of the folder that the list lacks are refused, and Kaggle's test images, which have
no labels, left out.
"""

from shards.sources.copies import find_root, images_by_stem, join_images
from shards.sources.files import SourceFiles
from shards.sources.headers import with_headers
from shards.sources.options import SourceOptions
from shards.sources.readings.masks import read_masks
from shards.sources.record import Record, Rejected, make_key
from shards.sources.release import Release

LABELS = ("Pneumothorax",)
LISTS = ("train-rle.csv", "siim-pneumothorax-train-rle.csv", "stage_2_train.csv")
SIDE = 1024


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the challenge's folder, or the folder around it.

    Raises:
        InputError: no list of masks, or one that lacks columns.
    """
    prefix, name = find_root(files, LISTS, what="SIIM-ACR's pneumothorax challenge")
    masks, problems = read_masks(files, name, LABELS[0], image="ImageId", pixels="EncodedPixels", side=SIDE)
    listed: list[Record | Rejected] = [
        Rejected(source_path=image, reason="bad-row", message=problems[image])
        if image in problems
        else Record(
            key=make_key(image),
            name=image,
            source_path=image,
            split="train",
            patient_id=image,
            study_id=image,
            is_patient_known=False,
            view="frontal",
            labels={LABELS[0]: int(bool(boxes))},
            boxes=tuple(boxes),
            box_frame=(SIDE, SIDE),
        )
        for image, boxes in masks.items()
    ]
    images = images_by_stem(files, prefix)
    tests = [one for names in images.values() for one in names if "test" in one.removeprefix(prefix).split("/")[0]]
    records, rejected, notes = join_images(listed, images, prefix=prefix, left_out=tests)
    records, refused = with_headers(files, records, patients=True)
    return Release(labels=LABELS, records=records, rejected=[*rejected, *refused], notes=notes)
