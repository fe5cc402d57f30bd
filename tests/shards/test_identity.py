"""An image, and a patient, have one number in whatever they are packed into."""

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from shards.derived import merge_datasets, write_subset
from shards.format.schema import SOURCE_HASH
from shards.identity import image_numbers, patient_numbers, place_numbers
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.packing.pseudonym import Pseudonyms, source_hash
from shards.sources.options import SourceOptions
from shards.sources.reports.chexpert import LABELS
from tests.conftest import draw_pattern


def chexpert(folder, *, side):
    """A CheXpert release of six images of three patients, ``side`` pixels high, so that files differ by it."""
    rows = []
    for number in range(6):
        name = f"train/patient{number // 2}/study1/view{number % 2 + 1}_frontal.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_pattern(number, has_blob=True, width=side, height=side)).save(path)
        rows.append([f"CheXpert-v1.0/{name}", "Female", 60, "Frontal", "AP", *["1.0"] * len(LABELS)])
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return folder


def table(folder, *, first=0):
    """A table of six images of three patients, by files of like names."""
    folder.mkdir()
    lines = ["file,patient"]
    for number in range(6):
        pixels = draw_pattern(first + number, has_blob=True, width=40, height=40)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number // 2}")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder


def packed(root, output, *, source="table", **more):
    if source == "table":
        more["source_options"] = SourceOptions(csv=Path("list.csv"), path_column="file", patient_column="patient")
    build_dataset(BuildConfig(source=source, input=root, output=output, workers=1, **({"size": 32} | more)))
    return ShardIndex.open(output)


def by_path(index):
    return dict(zip(index.column("source_path"), image_numbers(index).tolist(), strict=True))


def test_the_bytes_of_a_file_are_its_number(tmp_path):
    root = table(tmp_path / "in")
    one = packed(root, tmp_path / "one")
    numbers = image_numbers(one)
    for row, name in enumerate(one.column("source_path")):
        assert numbers[row].tolist() == [source_hash((root / name).read_bytes()), 0]
    two = packed(root, tmp_path / "two", size=24, format="png")
    assert by_path(two) == by_path(one)


def test_like_names_in_other_datasets_are_other_images_and_patients(tmp_path):
    one = packed(table(tmp_path / "in"), tmp_path / "one")
    two = packed(table(tmp_path / "other", first=50), tmp_path / "two")
    assert not set(image_numbers(one).ravel()) & set(image_numbers(two)[:, 0].ravel())
    assert not set(patient_numbers(one)) & set(patient_numbers(two))
    again = packed(tmp_path / "other", tmp_path / "again", name="one")
    assert set(patient_numbers(one)) == set(patient_numbers(again)), "a name is chosen to say that"
    assert len(set(patient_numbers(one))) == 3


def test_releases_with_names_of_their_own_are_known_by_them(tmp_path):
    """CheXpert-small and CheXpert are other files of the same images."""
    small = packed(chexpert(tmp_path / "small", side=40), tmp_path / "a", source="chexpert")
    full = packed(chexpert(tmp_path / "full", side=56), tmp_path / "b", source="chexpert")
    assert not set(image_numbers(small)[:, 0]) & set(image_numbers(full)[:, 0])
    assert set(image_numbers(small)[:, 1]) == set(image_numbers(full)[:, 1])
    assert set(patient_numbers(small)) == set(patient_numbers(full))


def test_pseudonyms_of_one_key_are_the_same_and_of_another_are_not(tmp_path):
    root = table(tmp_path / "in")
    for name in ("key", "other"):
        (tmp_path / name).write_text(f"{name} of more than sixteen bytes")
    plain = packed(root, tmp_path / "plain")
    one = packed(root, tmp_path / "a", pseudonymise=tmp_path / "key")
    two = packed(root, tmp_path / "b", pseudonymise=tmp_path / "key", size=24)
    other = packed(root, tmp_path / "c", pseudonymise=tmp_path / "other")
    for numbers in (image_numbers, patient_numbers):
        in_one, in_two, in_others = ({*numbers(index).ravel().tolist()} - {0} for index in (one, two, other))
        assert in_one == in_two
        assert not in_one & (in_others | {*numbers(plain).ravel().tolist()})
    data = (root / "0.png").read_bytes()
    secret = (tmp_path / "key").read_bytes()
    assert Pseudonyms(secret).source_hash(data) in image_numbers(one)
    assert source_hash(data) not in image_numbers(one)


def test_folders_know_no_patients(tmp_path):
    index = packed(table(tmp_path / "in"), tmp_path / "out", source="folder")
    assert not patient_numbers(index).any()


def test_datasets_of_an_earlier_build_are_known_by_name(tmp_path):
    index = packed(table(tmp_path / "in"), tmp_path / "one")
    data = index.datasets
    data.table = data.table.drop_columns([SOURCE_HASH])
    numbers = image_numbers(index)
    assert not numbers[:, 0].any()
    assert len(set(numbers[:, 1])) == 6
    data.table = data.table.append_column(SOURCE_HASH, pa.nulls(6, pa.uint64()))
    assert (image_numbers(index) == numbers).all()


@pytest.mark.parametrize("how", ["subset", "merge"])
def test_where_an_image_lies_is_the_same_in_what_is_derived(how, tmp_path):
    one = packed(table(tmp_path / "in"), tmp_path / "one")
    two = packed(table(tmp_path / "other", first=50), tmp_path / "two")
    if how == "subset":
        derived = write_subset(one.take([3, 1]), tmp_path / "part", selection={})
        assert place_numbers(derived).tolist() == place_numbers(one)[[3, 1]].tolist()
    else:
        both = merge_datasets([tmp_path / "two", tmp_path / "one"], tmp_path / "both")
        assert place_numbers(both).tolist() == [*place_numbers(two), *place_numbers(one)]
