import shutil

import numpy as np
import pytest

from shards.base.errors import InputError
from shards.checks.preview import contact_sheet
from shards.index import ShardIndex
from tests.shards.images.pictures import png_chunk
from tests.shards.sealed import seal


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset)


def test_a_page_of_tiles(index):
    small, large = (contact_sheet(index, columns=3, rows=rows, tile=64) for rows in (1, 2))
    assert small.mode == "L"
    assert small.width == large.width == 3 * 70 + 6
    tile_height = large.height - small.height
    assert 64 < tile_height < 200
    pixels = np.asarray(large)
    first = pixels[27 : 27 + 64, 6 : 6 + 64]
    assert first.std() > 20, "the first tile shows an image"
    assert (pixels[27 + 64 : 27 + 64 + 60, 6:70] < 128).any(), "with text beneath"


def test_the_images_are_those_of_the_selection(index):
    """A blob is a bright disc at the lower left: it shows in each tile of a sheet of blobs, in none of the others."""

    def brightness(label):
        sheet = np.asarray(contact_sheet(index.where(**{label: 1}), columns=4, rows=1, tile=72))
        return [sheet[27 + 45 : 27 + 54, left + 15 : left + 21].mean() for left in range(6, 6 + 4 * 78, 78)]

    assert min(brightness("blob")) > max(brightness("clear"))


def test_the_seed_decides(index):
    sheets = [contact_sheet(index, columns=2, rows=1, tile=64, seed=seed).tobytes() for seed in (0, 0, 1)]
    assert sheets[0] == sheets[1] != sheets[2]


def test_fewer_images_than_tiles_make_a_smaller_page(index):
    assert contact_sheet(index.take([3]), tile=64).width == 64 + 12
    assert contact_sheet(index, columns=7, rows=100, tile=64).height < 14 * 160


def test_labels_are_written(index, tmp_path, tiny_dataset, monkeypatch):
    from PIL import ImageDraw

    written = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, place, text, *more: written.append(text) or draw(pen, place, text, *more),
    )
    one = index.where(blob=1, split="test").take([0])
    contact_sheet(one, tile=300)
    assert written == ["tiny: 1 of 1 images", one.column("key")[0], "test", "blob"]
    written.clear()
    contact_sheet(one, tile=64)
    assert written[1].startswith("...")
    assert one.column("key")[0].endswith(written[1][3:])


@pytest.mark.parametrize("options", [{"columns": 0}, {"rows": 101}, {"tile": 8}])
def test_impossible_pages(index, options):
    (name,) = options
    with pytest.raises(InputError, match=f"--{name} .*: must be from"):
        contact_sheet(index, **options)


@pytest.mark.parametrize(
    "start",
    [
        b"x" * 64,
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", b"\0\0\xea\x60\0\0\xea\x60\x08\0\0\0\0"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
    ids=["no picture", "3.6 billion pixels", "a program"],
)
def test_a_damaged_image_is_named(tiny_dataset, tmp_path, start):
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    index = ShardIndex.open(folder).take([7])
    about = index.table.to_pylist()[0]
    data = bytearray((folder / about["shard"]).read_bytes())
    data[about["offset"] : about["offset"] + len(start)] = start
    (folder / about["shard"]).write_bytes(data)
    seal(folder)
    with pytest.raises(InputError, match=f"image {about['key']} in .*tar: cannot be decoded .* shards verify"):
        contact_sheet(index)
