import json

import pytest

from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles

KINDS = [{"id": 1, "name": "ActiveTuberculosis"}, {"id": 2, "name": "ObsoletePulmonaryTuberculosis"}]
KINDS += [{"id": 3, "name": "PulmonaryTuberculosis"}]


def annotations(names, boxes=()):
    images = [{"id": i, "file_name": name, "width": 512, "height": 512} for i, name in enumerate(names)]
    drawn = [{"image_id": i, "category_id": kind, "bbox": box} for i, kind, box in boxes]
    return json.dumps({"images": images, "annotations": drawn, "categories": KINDS}).encode()


TRAIN = annotations(
    ["health/h1.png", "sick/s1.png", "tb/tb1.png", "tb/tb2.png", "health/h2.png"],
    [(2, 1, [10, 20, 30, 40]), (2, 2, [1.5, 2, 3, 4]), (4, 1, [1, 2, 3, 4])],
)
LISTS = {
    "annotations/json/TBX11K_train.json": TRAIN,
    "annotations/json/TBX11K_val.json": annotations(["tb/tb3.png"], [(0, 2, [5, 5, 5, 5])]),
}
IMAGES = [f"imgs/{name}.png" for name in ("health/h1", "health/h2", "sick/s1", "tb/tb1", "tb/tb2", "tb/tb3", "sick/s9")]
IMAGES += ["imgs/test/t1.png", "imgs/extra/shenzhen/CHNCXR_0001_0.png"]


def test_classes_are_folders_and_kinds_are_boxes():
    found = read_release("tbx11k", ListedFiles(LISTS, IMAGES), SourceOptions())
    healthy, sick, both, unsure, latent = found.records
    assert set(healthy.labels.values()) == {0}
    assert sick.labels["Sick, no tuberculosis"] == 1
    assert both.labels["ActiveTuberculosis"] == both.labels["ObsoletePulmonaryTuberculosis"] == 1
    assert both.boxes == (
        Box("ActiveTuberculosis", 10, 20, 30, 40),
        Box("ObsoletePulmonaryTuberculosis", 1.5, 2, 3, 4),
    )
    assert unsure.labels == {"Tuberculosis": 1, "Sick, no tuberculosis": 0}, "which kind is left open"
    assert (latent.split, latent.labels["ActiveTuberculosis"]) == ("valid", 0)
    assert [(one.source_path, one.reason) for one in found.rejected] == [
        ("imgs/health/h2.png", "bad-row"),
        ("imgs/sick/s9.png", "no-row"),
    ]
    assert found.notes == ["2 images of imgs/test (no labels) and imgs/extra (other sets) were left out"]


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"images": [{}], "annotations": [], "categories": []}'])
def test_lists_of_another_form(data):
    with pytest.raises(InputError, match="cannot be read as TBX11K's annotations"):
        read_release("tbx11k", ListedFiles({"annotations/json/TBX11K_train.json": data}), SourceOptions())
