import io

import numpy as np
import openjpeg
import pytest
from PIL import Image

from shards.images.store import ImageError, ImageSpec, store_image
from tests.shards.dicom_files import jpeg_12_bit, lossless_jpeg
from tests.shards.images.pictures import NOISE, RAMP, encoded

SPEC = ImageSpec(size=100, format="png")
FILM = Image.fromarray(RAMP)


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(store_image(data, SPEC).data))).astype(int)


def refused(data):
    with pytest.raises(ImageError) as caught:
        store_image(data, SPEC)
    return caught.value.reason, str(caught.value)


def several(format):
    options = {"lossless": True} if format == "WEBP" else {}
    return encoded(
        FILM.convert("RGB"), format, save_all=True, append_images=[FILM.convert("RGB").rotate(180)], **options
    )


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_several_pictures_in_a_file_are_refused(format):
    assert refused(several(format)) == ("multi-frame", f"{format} of 2 pictures; a radiograph is one")
    assert np.abs(pixels(encoded(FILM.convert("RGB"), format)) - RAMP).mean() < 3


def test_of_a_photograph_and_its_copies_the_photograph_is_read():
    assert np.abs(pixels(several("MPO")) - RAMP).mean() < 3


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"II\xbc\x01" + bytes(40), "JPEG XR"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (b"\0\0\0\x18ftypmif1" + bytes(40), "HEIC"),
    ],
)
def test_pictures_of_other_kinds_are_named_with_the_remedy(data, name):
    reason, message = refused(data)
    assert reason == "unsupported"
    assert message.startswith(name)
    assert message.endswith("save it as PNG")


def test_postscript_is_not_run():
    assert refused(encoded(FILM, "EPS")) == ("not-an-image", "a PostScript text, not a picture")


def test_deep_jpeg_of_luminance_and_chroma():
    gray = np.kron(RAMP[:96:8, ::8].astype(np.uint16) * 16, np.ones((8, 8), np.uint16))
    tinted = np.dstack([gray, np.full_like(gray, 3000), np.full_like(gray, 1000)])
    assert np.abs(pixels(jpeg_12_bit(tinted)) - gray / 4095 * 255).max() <= 1


NOT_COPIED_TO_THE_END = {
    "JPEG": encoded(Image.fromarray(NOISE), "JPEG"),
    "JPEG, progressive": encoded(Image.fromarray(NOISE), "JPEG", progressive=True),
    "JPEG, restarts": encoded(Image.fromarray(NOISE), "JPEG", restart_marker_rows=1),
    "JPEG, lossless of 8 bits": lossless_jpeg(NOISE, bits=8),
    "JPEG, lossless of 12 bits": lossless_jpeg(NOISE.astype(np.uint16) * 16, bits=12),
    "JPEG 2000": openjpeg.encode(NOISE.astype(np.uint16) * 16, bits_stored=12, photometric_interpretation=2),
    "PNG": encoded(Image.fromarray(NOISE)),
    "GIF": encoded(Image.fromarray(NOISE), "GIF"),
    "TIFF, LZW": encoded(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"),
    "TIFF, deflate": encoded(Image.fromarray(NOISE), "TIFF", compression="tiff_deflate"),
    "TIFF, JPEG": encoded(Image.fromarray(NOISE), "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("part", [0.3, 0.9])
@pytest.mark.parametrize("name", NOT_COPIED_TO_THE_END)
def test_files_that_were_not_copied_to_their_end(name, part):
    whole = NOT_COPIED_TO_THE_END[name]
    assert pixels(whole).shape == (100, 200)
    start = whole[: int(part * len(whole))]
    for data in (start, start + bytes(len(whole) - len(start))):
        assert refused(data)[0] == "damaged"
