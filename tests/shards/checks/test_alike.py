"""The same picture in other forms, packed and looked for; and what is no copy."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from shards.base.errors import InputError
from shards.checks.alike import _near, num_not_compared, num_repeated, same_pictures
from shards.checks.duplicates import identical_images, same_names
from shards.checks.verify import verify_dataset
from shards.derived import merge_datasets, write_subset
from shards.format.schema import FINGERPRINT
from shards.images.fingerprint import IS_ODD
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.remote.cache import Cache
from tests.servers import FileServer
from tests.shards.films import FORMS, TURNED, cut, draw_film
from tests.shards.sealed import seal

ACROSS = FORMS | TURNED
WITHIN = [name for name in FORMS if name != "cut"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Train holds 16 films, test each of the first ones in another form and six other films; valid holds one film twice
    as it came and once enlarged."""
    folder = tmp_path_factory.mktemp("films")
    for split in ("train", "test", "valid"):
        (folder / "source" / split).mkdir(parents=True)
    films = [draw_film(seed) for seed in range(16)]
    for number, film in enumerate(films):
        film.save(folder / "source" / "train" / f"film{number}.png")
    for number, form in enumerate(ACROSS):
        ACROSS[form](films[number]).save(folder / "source" / "test" / f"copy{number}.png")
    for seed in range(100, 106):
        draw_film(seed).save(folder / "source" / "test" / f"other{seed}.png")
    single = draw_film(200)
    for name in ("a", "b"):
        single.save(folder / "source" / "valid" / f"{name}.png")
    FORMS["double"](single).save(folder / "source" / "valid" / "c.jpg", quality=80)
    return build(folder / "source", folder / "films")


def build(source, output, **options):
    settings = {"source": "folder", "size": 160, "workers": 1} | options
    build_dataset(BuildConfig(input=source, output=output, **settings))
    return output


def found(index):
    """Groups of same pictures, by file name."""
    names = np.array([path.rpartition("/")[2].rpartition(".")[0] for path in index.column("source_path")])
    groups = same_pictures(index, identical_images(index), same_names(index))
    return sorted(sorted(names[group].tolist()) for group in groups)


def wanted():
    return sorted([["a", "b", "c"], *(sorted([f"film{i}", f"copy{i}"]) for i in range(len(ACROSS)))])


def without_fingerprints(folder):
    """The dataset as an earlier build left it."""
    table = pq.read_table(folder / "index.parquet")
    pq.write_table(table.drop_columns([FINGERPRINT]), folder / "index.parquet")
    return seal(folder)


def test_other_forms_are_found_in_another_split(dataset):
    assert found(ShardIndex.open(dataset)) == wanted()
    assert found(ShardIndex.open(dataset).where(split=("train", "test"))) == wanted()[1:]


def test_other_forms_are_found_in_one_split(tmp_path):
    (tmp_path / "source").mkdir()
    for number, form in enumerate(WITHIN):
        draw_film(number).save(tmp_path / "source" / f"film{number}.png")
        FORMS[form](draw_film(number)).save(tmp_path / "source" / f"copy{number}.png")
    index = ShardIndex.open(build(tmp_path / "source", tmp_path / "films"))
    assert found(index) == sorted(sorted([f"film{i}", f"copy{i}"]) for i in range(len(WITHIN)))


def test_how_many_test_images_are_trained_on(dataset, tmp_path):
    """All forms but the cut, which only :func:`same_pictures` looks for; nothing is read for an earlier dataset."""
    index = ShardIndex.open(dataset)
    test, train = index.where(split="test"), index.where(split="train")
    assert num_repeated(test, train) in (len(ACROSS) - 1, len(ACROSS))
    assert num_repeated(test, train.where(source_path="train/film0.png")) == 1
    assert num_repeated(index.where(split="valid"), train) == 0
    former = ShardIndex.open(without_fingerprints(shutil.copytree(dataset, tmp_path / "former")))
    assert num_repeated(former.where(split="test"), former.where(split="train")) == 0


@pytest.mark.parametrize("options", [{"size": 96}, {"format": "png"}, {"quality": 40}])
def test_however_they_are_packed(dataset, tmp_path, options):
    other = build(dataset.parent / "source", tmp_path / "other", name="other", **options)
    both = ShardIndex.open(dataset, other)
    chosen = both.take(np.flatnonzero((both.column("dataset") == "films") == (both.column("split") == "train")))
    assert found(chosen) == wanted()


def test_datasets_packed_before_there_were_fingerprints(dataset, tmp_path):
    former = without_fingerprints(shutil.copytree(dataset, tmp_path / "former"))
    assert verify_dataset(former, workers=1).damages == ()
    index = ShardIndex.open(former)
    assert FINGERPRINT not in index.table.column_names
    assert found(index) == wanted()
    chosen = index.where(split=("train", "test"))
    assert found(write_subset(chosen, tmp_path / "subset", selection={})) == wanted()[1:]


def test_a_merge_of_an_earlier_and_a_new_dataset(dataset, tmp_path):
    source = shutil.copytree(dataset.parent / "source", tmp_path / "source")
    (source / "test").rename(tmp_path / "tests")
    new = build(source, tmp_path / "new")
    (tmp_path / "only" / "test").mkdir(parents=True)
    for path in (tmp_path / "tests").iterdir():
        path.rename(tmp_path / "only" / "test" / path.name)
    former = without_fingerprints(build(tmp_path / "only", tmp_path / "former"))
    for folders in ((new, former), (former, new)):
        merged = merge_datasets(folders, tmp_path / f"merged-{folders[0].name}")
        assert found(merged) == wanted()
        marks = merged.column(FINGERPRINT)
        assert {type(mark) for mark in marks[merged.column("dataset") == "new"]} == {bytes}
        assert set(marks[merged.column("dataset") == "former"]) == {None}
        subset = write_subset(merged, tmp_path / f"subset-{folders[0].name}", selection={})
        assert subset.table.equals(merged.table)
        assert found(subset) == wanted()
        assert verify_dataset(tmp_path / f"subset-{folders[0].name}", workers=1).damages == ()


def test_earlier_datasets_elsewhere_are_not_fetched_whole(dataset, tmp_path):
    former = without_fingerprints(shutil.copytree(dataset, tmp_path / "served" / "former"))
    with FileServer(former.parent) as server:
        index = ShardIndex.open(f"{server.address}/former/", cache=Cache(folder=tmp_path / "cache"))
        few = index.where(split="train")
        assert found(few) == []
        assert same_pictures(few, [], np.array([[0, 1]])) == []
        assert not server.count()
        assert num_not_compared(few) == len(few)
    assert num_not_compared(ShardIndex.open(former)) == num_not_compared(ShardIndex.open(dataset)) == 0


def test_files_of_one_name_are_looked_at_whatever_their_fingerprints(tmp_path):
    """A cut that takes fingerprints apart is seen where the name says where to look."""
    for split, share in (("train", 0.0), ("test", 0.035)):
        (tmp_path / "source" / split).mkdir(parents=True)
        for seed in range(6):
            cut(draw_film(seed), share).save(tmp_path / "source" / split / f"{seed}.png")
    index = ShardIndex.open(build(tmp_path / "source", tmp_path / "films"))
    named = same_names(index)
    assert len(named) == 6
    blind = same_pictures(index, [], named[:0])
    assert len(same_pictures(index, [], named)) > len(blind)


def test_an_image_that_cannot_be_decoded_is_named(dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "damaged")
    index = ShardIndex.open(folder)
    row = int(np.flatnonzero(index.column("source_path") == "train/film0.png")[0])
    place = index.place(row)
    data = bytearray(place.tar.read_bytes())
    data[place.offset : place.offset + 200] = bytes(200)
    place.tar.write_bytes(data)
    with pytest.raises(InputError, match=rf"image {place.key} in .*tar: cannot be decoded .* shards verify"):
        found(ShardIndex.open(folder))


def test_the_nearest_are_those_of_all_pairs(monkeypatch):
    """Tiles and halves against all products at once."""
    monkeypatch.setattr("shards.checks.alike._TILE", (7, 10))
    random = np.random.default_rng(0)
    few = random.normal(size=(30, 63)).astype(np.float32)
    many = np.repeat(few[::3], 6, axis=0) + random.normal(0, 0.02, size=(60, 63)).astype(np.float32)
    many[1::2, IS_ODD] *= -1
    few, many = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in (few, many))
    mirrored = np.where(IS_ODD, -many, many)
    products = np.max([few @ many.T, few @ mirrored.T, -few @ many.T, -few @ mirrored.T], axis=0)
    order = np.argsort(-products, axis=1)[:, :4]
    pairs = {(i, int(j)) for i in range(len(few)) for j in order[i] if products[i, j] > 1 - 0.3**2 / 2}
    assert {tuple(pair) for pair in _near(few, many, distance=0.3, within=False).tolist()} == pairs
    assert len(pairs) == 40
    within = {tuple(pair) for pair in _near(many, many, distance=0.3, within=True).tolist()}
    close = np.triu(many @ many.T > 1 - 0.3**2 / 2, k=1)
    assert within == {tuple(pair) for pair in np.argwhere(close).tolist()}
