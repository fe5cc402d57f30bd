"""Boxes on their way from a release's list to the index, and through subsets, merges and previews."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.checks.preview import contact_sheet
from shards.checks.stats import dataset_stats
from shards.checks.stats_text import stats_text
from shards.derived import filter_rows, merge_datasets, write_subset
from shards.drawn import drawn_boxes, has_boxes
from shards.format.boxes import Box
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.packing.pseudonym import Pseudonyms
from shards.sources.record import Record
from tests.conftest import draw_pattern
from tests.shards.sealed import seal
from tests.shards.sources.reports.test_nih import HEADER

NAMES = [f"{number:08d}_000.png" for number in range(6)]


def nih_release(folder, boxes="", side=64):
    """Six images as a copy of NIH's release that was made smaller, of which two have boxes in pixels of 1024."""
    (folder / "images").mkdir(parents=True)
    rows = [f"{name},Mass|Nodule,0,{number},50,M,PA,2000,2000,.1,.1" for number, name in enumerate(NAMES)]
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(NAMES[:4]))
    (folder / "test_list.txt").write_text("\n".join(NAMES[4:]))
    lines = ["Image Index,Finding Label,Bbox [x,y,w,h],,,", f"{NAMES[0]},Mass,256,512,128,64,,,"]
    lines += [f"{NAMES[0]},Infiltrate,0,0,1024,1024", f"{NAMES[4]},Nodule,512,0,512,256", boxes]
    (folder / "BBox_List_2017.csv").write_text("\n".join(lines))
    for number, name in enumerate(NAMES):
        pixels = draw_pattern(number, has_blob=False, width=side, height=side)
        Image.fromarray(pixels).save(folder / "images" / name)
    return folder


def build(folder, output, **options):
    settings = {"source": "nih", "size": 32, "workers": 1, "format": "png", "max_rejected": 0.5}
    build_dataset(BuildConfig(input=folder, output=output, **(settings | options)))
    return output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    return build(nih_release(folder / "nih"), folder / "packed")


def by_path(index):
    return dict(zip(index.column("source_path"), drawn_boxes(index), strict=True))


def test_boxes_are_stored_in_stored_pixels(dataset):
    boxes = by_path(ShardIndex.open(dataset))
    assert boxes[f"images/{NAMES[0]}"] == (Box("Mass", 8, 16, 4, 2), Box("Infiltration", 0, 0, 32, 32))
    assert boxes[f"images/{NAMES[4]}"] == (Box("Nodule", 16, 0, 16, 8),)
    assert boxes[f"images/{NAMES[1]}"] is None, "nobody drew any"


def test_subsets_and_merges_keep_boxes(dataset, tiny_dataset, tmp_path):
    index = ShardIndex.open(dataset)
    subset = write_subset(index.where(split="test"), tmp_path / "subset", selection={})
    assert by_path(subset) == {path: boxes for path, boxes in by_path(index).items() if path.endswith(tuple(NAMES[4:]))}
    merged = merge_datasets([tiny_dataset, tmp_path / "subset"], tmp_path / "merged")
    assert [boxes for boxes in drawn_boxes(merged) if boxes] == [(Box("Nodule", 16, 0, 16, 8),)]
    tiny = ShardIndex.open(tiny_dataset)
    assert not has_boxes(tiny)
    assert set(drawn_boxes(tiny)) == {None}


def test_a_preview_outlines_boxes(dataset, tmp_path):
    index = ShardIndex.open(dataset)
    plain = shutil.copytree(dataset, tmp_path / "plain")
    pq.write_table(pq.read_table(plain / "index.parquet").drop_columns(["boxes"]), plain / "index.parquet")
    without = ShardIndex.open(seal(plain))
    place = index.column("source_path").tolist().index(f"images/{NAMES[4]}")
    sheets = [np.asarray(contact_sheet(one.take([place]), tile=64), int) for one in (index, without)]
    tile = np.abs(sheets[0] - sheets[1])[27 : 27 + 64, 6 : 6 + 64]
    top, left = 16, 16  # of an image of 32 px in the middle of the tile
    changed = np.argwhere(tile > 0)
    assert (changed[:, 1].min(), changed[:, 1].max()) == (left + 15, left + 31)
    assert changed[:, 0].min() == top
    outline = sheets[0][27 + top + 7, 6 + left + 16 : 6 + left + 32]
    assert (outline == 255).all()
    assert (sheets[0][27 + top : 27 + top + 8, 6 + left + 31] == 255).all()


def test_boxes_of_another_picture_are_refused_with_the_image(tmp_path):
    release = nih_release(tmp_path / "nih", boxes=f"{NAMES[1]},Mass,1000,0,90,20\n{NAMES[2]},Mass,0,0,x,20")
    output = build(release, tmp_path / "out")
    refused = {row["reason"]: row["message"] for row in pq.read_table(output / "rejected.parquet").to_pylist()}
    assert refused["boxes-outside"].startswith("a box of 'Mass' spans 1000 to 1090 across and 0 to 20 down")
    assert refused["bad-box"] == "BBox_List_2017.csv, line 6: no box of a known finding"


def test_a_box_outside_of_its_image_is_refused_where_it_is_read(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "changed")
    table = pq.read_table(folder / "index.parquet")
    boxes = [one and [one[0] | {"x": 31.0}] for one in table["boxes"].to_pylist()]
    place = table.column_names.index("boxes")
    changed = table.set_column(place, "boxes", pa.array(boxes, table["boxes"].type))
    pq.write_table(changed, folder / "index.parquet")
    with pytest.raises(InputError, match=r"has a box outside of the image of row \d+"):
        ShardIndex.open(seal(folder))
    pq.write_table(table.set_column(place, "boxes", pa.array([[1.0]] * 6)), folder / "index.parquet")
    with pytest.raises(InputError, match="its column 'boxes' is list"):
        ShardIndex.open(seal(folder))


@pytest.mark.parametrize("value", ["", "Mass"])
def test_boxes_are_no_column_to_choose_by(dataset, value):
    with pytest.raises(InputError, match="is no column to choose by"):
        filter_rows(ShardIndex.open(dataset), [f"boxes={value}"])


def test_stats_count_boxes(dataset):
    counted = dataset_stats(ShardIndex.open(dataset))
    test, train = sorted(counted.splits, key=lambda one: one.name)
    assert train.boxes == {"Infiltration": (1, 1), "Mass": (1, 1)}
    assert test.boxes == {"Nodule": (1, 1)}
    lines = [line.split() for line in stats_text(counted).splitlines()]
    assert ["boxes", "split", "images", "boxes"] in lines
    assert ["Nodule", "test", "1", "1"] in lines


def test_pseudonyms_keep_boxes_and_hide_who_drew_them():
    record = Record(key="a", name="a", source_path="a", split="train", patient_id="p", study_id="s")
    hidden = Pseudonyms(b"0" * 32).record(replace(record, boxes=(Box("Mass", 1, 2, 3, 4, "Dr A"),)))
    assert hidden.boxes is not None
    assert hidden.boxes[0][:5] == ("Mass", 1, 2, 3, 4)
    assert hidden.boxes[0].reader not in (None, "Dr A")
