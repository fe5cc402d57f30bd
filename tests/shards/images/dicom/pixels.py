"""What the tests of DICOM share: a picture, and headers that are changed."""

import io

import numpy as np
import pydicom
import pytest

from shards.images.dicom.decode import decode_dicom
from shards.images.refusal import ImageError
from tests.shards.dicom_files import dicom_dataset
from tests.shards.images.pictures import RAMP

DEEP = np.rint(RAMP / 255.0 * 4095).astype(np.uint16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
NOISY = np.clip(DEEP + np.random.default_rng(0).normal(0, 60, DEEP.shape), 0, 4095).astype(np.uint16)


def saved(header, **options):
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, header, **options)
    return buffer.getvalue()


def changed(data, *missing, **tags):
    """The file with elements of its header changed, or taken away."""
    header = dicom_dataset(data)
    for name in missing:
        delattr(header, name)
    for name, value in tags.items():
        setattr(header, name, value)
    return saved(header)


def far(data, want=RAMP):
    return np.abs(decode_dicom(data).astype(int) - want).max()


def refused(data):
    with pytest.raises(ImageError) as caught:
        decode_dicom(data)
    return caught.value.reason, str(caught.value)
