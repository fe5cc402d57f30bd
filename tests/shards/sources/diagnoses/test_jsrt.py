import io

import numpy as np
import pytest
from PIL import Image

from shards.drawn import drawn_boxes
from shards.images.raw import SIDE
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles

NODULES = """JPCLN001.IMG\t5\t15\t53\tmale\t1634\t692\tmalignant\tl.upper lobe(S1+2)\tlung cancer
JPCLN002.IMG\t4\t30\t?\tfemale\t1614\t1090\tbenign\tl.upper lobe(S5)\tpulmonary hematoma
JPCLN003.IMG\tnothing
"""
OTHERS = "JPCNN001.IMG 45  male   non-nodule\nJPCNN002.IMG 50  female   non-nodule\n"


def test_two_lists_of_their_own_form():
    lists = {"Clinical_Information/CLNDAT_EN.txt": NODULES, "Clinical_Information/CNNDAT_EN.TXT": OTHERS}
    images = ["All247images/JPCLN001.IMG", "All247images/JPCLN002.IMG", "x/JPCNN001.png"]
    found = read_release(
        "jsrt", ListedFiles({name: text.encode() for name, text in lists.items()}, images), SourceOptions()
    )
    first, second, third = found.records
    assert first.labels == {"Nodule": 1, "Malignant Nodule": 1}
    assert second.labels == {"Nodule": 1, "Malignant Nodule": 0}
    assert third.labels == {"Nodule": 0, "Malignant Nodule": 0}
    (box,) = first.boxes
    assert (box.x + box.width / 2, box.y + box.height / 2) == pytest.approx((1634, 692))
    assert box.width == pytest.approx(15 / 0.175)
    assert (first.sex, first.age, second.age, third.sex, third.boxes) == ("M", 53, None, "M", ())
    assert [one.source_path for one in found.rejected] == ["JPCLN003"]
    assert found.notes == ["1 of the 4 listed images are not in this copy"]


def test_a_raw_film_is_packed_with_its_nodule(tmp_path):
    """White is at 0 in the file: a nodule that is whiter than the lung has smaller numbers."""
    film = np.full((SIDE, SIDE), 3000, ">u2")
    film[692 - 40 : 692 + 40, 1634 - 40 : 1634 + 40] = 500
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "JPCLN001.IMG").write_bytes(film.tobytes())
    (tmp_path / "in" / "CLNDAT_EN.txt").write_text(NODULES.splitlines()[0])
    config = BuildConfig(
        source="jsrt", input=tmp_path / "in", output=tmp_path / "out", size=256, format="png", workers=1
    )
    build_dataset(config)
    index = ShardIndex.open(tmp_path / "out")
    ((box,),) = drawn_boxes(index)
    pixels = np.asarray(Image.open(io.BytesIO(index.read(0))))
    inside = pixels[round(box.y) + 1 : round(box.y + box.height) - 1, round(box.x) + 1 : round(box.x + box.width) - 1]
    assert inside.min() == round((4095 - 500) * 255 / 4095)
    assert pixels[0, 0] == round((4095 - 3000) * 255 / 4095)
