"""Arrays of NumPy as pictures: of any type of numbers, refused in words where they are none, never unpickled."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from shards.format.rejected import read_rejected
from shards.images.npy import decode_npy
from shards.images.store import ImageError, ImageSpec, store_image
from shards.index import ShardIndex
from shards.packing.build import build_dataset
from shards.sources.options import SourceOptions
from tests.shards.builds import config
from tests.shards.images.pictures import RAMP

PNG = ImageSpec(size=100, format="png")
HUGE = b"\x93NUMPY\x02\x00"


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(text, body=b"", *, start=b"\x93NUMPY\x01\x00", length_bytes=2):
    return start + len(text).to_bytes(length_bytes, "little") + text.encode() + body


@pytest.mark.parametrize(
    "array",
    [
        RAMP,
        RAMP.astype(np.uint16) * 257,
        RAMP.astype(">u2") * 16,
        RAMP.astype(np.int16) * 128,
        RAMP.astype(np.int64) * 16,
        RAMP.astype(np.float16) / 255,
        RAMP.astype(np.float32) / 255,
        RAMP / 255,
        RAMP / 127.5 - 1,
    ],
    ids=["u1", "u2", ">u2", "i2", "i8", "f2", "f4", "f8", "from -1 to 1"],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_type_of_numbers_becomes_the_same_gray(array, order):
    data = saved(np.asarray(array, order=order))
    assert np.array_equal(decode_npy(data), array)
    with Image.open(io.BytesIO(store_image(data, PNG).data)) as image:
        assert np.abs(np.asarray(image).astype(int) - RAMP).max() <= 1


class Attack:
    """Ends the process where somebody unpickles it."""

    def __reduce__(self):
        import os

        return os._exit, (7,)


NOT_FINITE = np.where(RAMP == 0, np.nan, RAMP)
REFUSED = {
    "cut in its pixels": (
        saved(RAMP)[:-1],
        "damaged",
        "19,999 bytes of pixels, its header says 20,000: it is cut",
    ),
    "cut in its header": (saved(RAMP)[:40], "damaged", "header cannot be read"),
    "no header": (saved(RAMP)[:7], "damaged", "header cannot be read"),
    "two arrays": (saved(RAMP) * 2, "damaged", "something else follows"),
    "no dictionary": (headed("7"), "damaged", "header cannot be read"),
    "broken dictionary": (headed("{'descr': '<u2', 'shape': ((((\n"), "damaged", "header cannot be read"),
    "code in the header": (headed("{'descr': exit(7), 'fortran_order': False, 'shape': (9, 9)}"), "damaged", "header"),
    "header of a gigabyte": (headed("{" * 20_000, start=HUGE, length_bytes=4), "damaged", "header cannot be read"),
    "terabytes": (
        headed("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}"),
        "too-large",
        "1,000,000 x 1,000,000",
    ),
    "below zero": (headed("{'descr': '<f8', 'fortran_order': False, 'shape': (-9, 9)}"), "too-small", "9 x -9"),
    "other version": (headed("{}", start=b"\x93NUMPY\x09\x00"), "unsupported", "version 9.0"),
    "objects": (saved(np.array([[Attack()] * 9] * 9), allow_pickle=True), "unsupported", "never unpickled"),
    "three axes": (saved(np.zeros((100, 200, 3), np.uint8)), "unsupported", r"3 axes \(100, 200, 3\)"),
    "one axis": (saved(RAMP[0]), "unsupported", "1 axes"),
    "a number": (saved(np.float64(3)), "unsupported", "0 axes"),
    "fields": (saved(np.zeros((9, 9), [("a", "u1"), ("b", "u1")])), "unsupported", "fields"),
    "texts": (saved(np.full((9, 9), "abc")), "unsupported", "type <U3"),
    "complex": (saved(RAMP.astype(np.complex64)), "unsupported", "complex"),
    "bits": (saved(RAMP > 9), "unsupported", "true and false"),
    "not a number": (saved(NOT_FINITE), "damaged", "not finite"),
    "without end": (saved(np.where(RAMP == 0, np.inf, RAMP)), "damaged", "not finite"),
    "small": (saved(RAMP[:7]), "too-small", "200 x 7"),
    "even": (saved(np.full((9, 9), 7.0)), "blank", "one gray level"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_words(name):
    data, reason, words = REFUSED[name]
    with pytest.raises(ImageError, match=words) as refused:
        store_image(data, PNG)
    assert refused.value.reason == reason


@pytest.mark.parametrize("source", ["folder", "table"])
def test_folders_and_tables_read_them(tmp_path, source):
    root = tmp_path / "in"
    (root / "train").mkdir(parents=True)
    listed = {f"train/{number}.npy": data for number, (data, _, _) in enumerate(REFUSED.values())}
    listed |= {"train/a.npy": saved(RAMP), "train/b.NPY": saved(RAMP.astype(np.float32) / 255)}
    for name, data in listed.items():
        (root / name).write_bytes(data)
    (root / "list.csv").write_text("\n".join(["path", *listed]))
    options = SourceOptions(csv=root / "list.csv", path_column="path") if source == "table" else SourceOptions()
    settings = config(root, tmp_path / "out", source=source, source_options=options, max_rejected=1, format="png")
    totals = build_dataset(settings)
    assert (totals.num_packed, totals.num_rejected) == (2, len(REFUSED))
    assert sorted(ShardIndex.open(tmp_path / "out").column("source_path")) == ["train/a.npy", "train/b.NPY"]
    told = {row["source_path"]: row["reason"] for row in read_rejected(tmp_path / "out").to_pylist()}
    wanted = {f"train/{number}.npy": reason for number, (_, reason, _) in enumerate(REFUSED.values())}
    assert told == wanted


def test_several_arrays_in_a_zip_are_no_picture():
    file = io.BytesIO()
    np.savez(file, RAMP)
    assert zipfile.is_zipfile(file)
    with pytest.raises(ImageError, match="a zip, not a picture"):
        store_image(file.getvalue(), PNG)
