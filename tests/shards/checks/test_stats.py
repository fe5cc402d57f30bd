import json
import shutil
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards.checks.duplicates import identical_images
from shards.checks.stats import LabelCounts, dataset_stats
from shards.checks.stats_text import stats_text
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import draw_pattern, write_patterns
from tests.shards.films import compressed, draw_film, resized
from tests.shards.sealed import seal


def change(folder, **columns):
    table = pq.read_table(folder / "index.parquet")
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(name, pa.array(values))
            continue
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    pq.write_table(table, folder / "index.parquet")
    return ShardIndex.open(seal(folder))


def page(folder):
    return stats_text(dataset_stats(ShardIndex.open(folder)))


def without_the_copy(folder):
    index = ShardIndex.open(folder)
    return index.take(index.column("source_path") != "test/blob/again.png")


@pytest.fixture
def copied(tmp_path):
    """A dataset where one image lies in both splits, and another under both labels of one."""
    source = write_patterns(tmp_path / "source", {"train": 6, "test": 3})
    shutil.copy(source / "train" / "blob" / "blob000.png", source / "test" / "blob" / "again.png")
    shutil.copy(source / "train" / "blob" / "blob001.png", source / "train" / "clear" / "contrary.png")
    build_dataset(BuildConfig(source="folder", input=source, output=tmp_path / "data", size=48, workers=1))
    return tmp_path / "data"


def test_counts(tiny_dataset):
    stats = dataset_stats(ShardIndex.open(tiny_dataset))
    assert [(one.name, one.num_images, one.num_patients) for one in stats.splits] == [
        ("train", 64, 64),
        ("test", 32, 32),
    ]
    assert stats.splits[0].labels["blob"] == LabelCounts(present=32, absent=32, uncertain=0, blank=0)
    assert (stats.stored.width, stats.stored.height) == ((72, 72, 72), (64, 64, 64))
    assert stats.stored.commonest == {"72x64": 96}
    assert stats.num_bytes == sum(ShardIndex.open(tiny_dataset).table["length"].to_pylist())
    assert stats.blanks == "No label is blank."
    assert stats.duplicates.num_groups == 0
    assert stats.overlaps == ()
    json.dumps(asdict(stats))


def test_views_ages_and_uncertain_labels(tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    index = change(
        folder,
        view=[("frontal", "lateral", None)[i % 3] for i in range(96)],
        age=[float(i) if i % 2 else None for i in range(96)],
        blob=[(1, 0, -1, None)[i % 4] for i in range(96)],
    )
    one = dataset_stats(index.take(range(24))).splits[0]
    assert one.columns["view"] == {"frontal": 8, "lateral": 8, "(blank)": 8}
    assert one.labels["blob"] == LabelCounts(present=6, absent=6, uncertain=6, blank=6)
    text = stats_text(dataset_stats(index))
    assert "Blank labels are unknown in tiny (blob), and left out of training, test and every count." in text
    assert one.age is not None
    assert one.age[1] == 12.0


def test_images_with_an_indication(tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    stats = dataset_stats(change(folder, indication=["cough" if i < 70 else None for i in range(96)]))
    splits = dataset_stats(ShardIndex.open(tiny_dataset)).splits
    assert [one.num_indications for one in splits] == [0, 0]
    assert "indication" not in stats_text(dataset_stats(ShardIndex.open(tiny_dataset)))
    assert sum(one.num_indications for one in stats.splits) == 70
    page = [line.split() for line in stats_text(stats).splitlines()]
    start = page.index(["indication", "known", "(blank)"])
    assert [int(cell) for line in page[start + 1 : start + 3] for cell in line[1:]] == [
        count for one in stats.splits for count in (one.num_indications, one.num_images - one.num_indications)
    ]


def test_identical_images_and_contradicting_labels(copied):
    stats = dataset_stats(ShardIndex.open(copied))
    found = stats.duplicates
    assert (found.num_groups, found.num_surplus, found.num_across_patients, found.num_contradicting) == (2, 2, 2, 1)
    assert set(found.examples[0]) == {"train/blob/blob001.png", "train/clear/contrary.png"}


def test_equal_checksums_of_other_bytes_are_no_duplicates(tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    table = pq.read_table(folder / "index.parquet")
    index = change(folder, crc32=[0] * 96, length=[min(table["length"].to_pylist())] * 96)
    assert identical_images(index) == []


def test_leaks_between_splits(copied):
    stats = dataset_stats(ShardIndex.open(copied))
    (leak,) = stats.overlaps
    assert (set(leak.splits), leak.num_patients, leak.num_identical) == ({"train", "test"}, 0, 1)
    assert set(leak.identical[0]) == {"train/blob/blob000.png", "test/blob/again.png"}
    splits = ShardIndex.open(copied).column("split")
    index = change(copied, patient_id=[f"p{i if i else 19}" for i in range(len(splits))])
    assert splits[0] != splits[19]
    (leak,) = dataset_stats(index).overlaps
    assert (leak.num_patients, leak.patients) == (1, ("data p19",))
    text = stats_text(dataset_stats(index))
    assert "LEAK between test and train: 1 patients in both, 1 groups of identical images in both" in text


def test_leaks_where_patients_are_unknown(copied):
    text = stats_text(dataset_stats(ShardIndex.open(copied)))
    assert "LEAK between test and train: patients unknown, 1 groups of identical images in both\n" in text
    assert "  1 of the 7 images of test are in train, and 1 of the 13 of train in test\n" in text
    alone = stats_text(dataset_stats(without_the_copy(copied)))
    assert "between the splits: patients unknown; no picture in two of them" in alone
    about = json.loads((copied / "dataset.json").read_text())
    seal(copied, totals=about["totals"] | {"images_without_patient": 3})
    assert "LEAK between test and train: 0 of the known patients in both, 1" in page(copied)
    seal(copied, totals=about["totals"] | {"images_without_patient": 0})
    assert "LEAK between test and train: 0 patients in both, 1" in page(copied)
    assert "between the splits: no patient and no picture" in stats_text(dataset_stats(without_the_copy(copied)))


def test_the_same_pictures_at_two_sizes(tmp_path):
    """In one split, in two, and all of a test set, whose names say so too."""
    for split, seeds in (("train", range(6)), ("test", range(3))):
        (tmp_path / "source" / split).mkdir(parents=True)
        for seed in seeds:
            film = draw_film(seed) if split == "train" else compressed(resized(draw_film(seed), 0.5), 80)
            film.save(tmp_path / "source" / split / f"film{seed}.png")
    resized(draw_film(5), 0.6).save(tmp_path / "source" / "train" / "again.jpg")
    build_dataset(BuildConfig(source="folder", input=tmp_path / "source", output=tmp_path / "data", workers=1))
    stats = dataset_stats(ShardIndex.open(tmp_path / "data"))
    assert stats.duplicates.num_groups == 0
    assert (stats.alike.num_groups, stats.alike.num_surplus) == (4, 4)
    (leak,) = stats.overlaps
    assert (leak.splits, leak.num_identical, leak.num_alike, leak.num_images) == (("test", "train"), 0, 3, (3, 3))
    assert [(one.splits, one.num_names, one.num_same) for one in stats.shared_names] == [(("test", "train"), 3, 3)]
    text = stats_text(stats)
    assert "the same picture at another size, quality or gray scale: 4 groups, 4 images more than needed" in text
    assert (
        "LEAK between test and train: patients unknown, 0 groups of identical images in both, 3 of the same picture in "
        "several forms\n  3 of the 3 images of test are in train, and 3 of the 7 of train in test\n"
    ) in text
    assert all(f"  test/film{seed}.png ~ train/film{seed}.png" in text for seed in range(3))
    assert "file names in both test and train: 3, 3 of them of one picture" in text
    json.dumps(asdict(stats))
    alone = stats_text(dataset_stats(ShardIndex.open(tmp_path / "data").where(split="train")))
    assert "the same picture at another size, quality or gray scale: 1 groups" in alone


def test_names_that_a_split_has_twice_say_nothing(tmp_path):
    for name in ("train/a/view.png", "train/b/view.png", "train/a/one.png", "test/c/view.png", "test/c/ONE.PNG"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_film(len(name) + ord(name[6])).save(path)
    build_dataset(BuildConfig(source="folder", input=tmp_path / "source", output=tmp_path / "data", workers=1))
    stats = dataset_stats(ShardIndex.open(tmp_path / "data"))
    assert stats.overlaps == ()
    assert [(one.num_names, one.num_same) for one in stats.shared_names] == [(1, 0)]
    assert "file names in both test and train: 1, 0 of them of one picture" in stats_text(stats)


def test_the_page(copied):
    text = stats_text(dataset_stats(ShardIndex.open(copied)))
    assert "20 images of 20 patients" in text
    assert (
        "  train/blob/blob001.png = train/clear/contrary.png" in text or "contrary.png = train/blob/blob001.png" in text
    )
    line = next(line.split() for line in text.splitlines() if line.startswith("blob") and " train " in line)
    assert line == ["blob", "train", "6", "7", "0", "0", "46.2"]
    assert "view" not in text  # all blank: nothing to say


def test_one_split_and_no_labels(tmp_path):
    (tmp_path / "source").mkdir()
    Image.fromarray(draw_pattern(0, has_blob=True)).save(tmp_path / "source" / "a.png")
    build_dataset(BuildConfig(source="folder", input=tmp_path / "source", output=tmp_path / "data", workers=1))
    text = stats_text(dataset_stats(ShardIndex.open(tmp_path / "data")))
    assert "1 images of 1 patients" in text
    assert "one split only" in text


@pytest.mark.slow
def test_real_duplicates(real_data, tmp_path):
    config = BuildConfig(source="folder", input=real_data / "kermany", output=tmp_path / "kermany", size=64, workers=1)
    build_dataset(config)
    stats = dataset_stats(ShardIndex.open(tmp_path / "kermany"))
    assert stats.duplicates.num_surplus == 32
    assert stats.overlaps == ()
