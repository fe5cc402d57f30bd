import csv
import gzip
import hashlib
import io
import json
import time
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.packing import plan as planning
from shards.packing.build import BuildConfig
from shards.packing.plan import _source_digest, make_plan
from shards.sources.options import SourceOptions
from shards.sources.record import Record, Rejected
from shards.sources.release import Release
from tests.conftest import draw_pattern, write_patterns
from tests.shards.sources.listed_files import ListedFiles, real_list

PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
MOST_SECONDS = 10  # of one core, for a whole list


@pytest.fixture
def source(tmp_path):
    return write_patterns(tmp_path / "source", {"train": 40, "test": 10})


def config(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 16, "workers": 1}
    return BuildConfig(input=folder, output=output, **(defaults | options))


def test_each_record_lies_in_one_shard_and_rows_are_permuted_within_splits(source, tmp_path):
    plan = make_plan(config(source, tmp_path / "out"))
    assert sorted(row for rows in plan.rows.values() for row in rows) == list(range(100))
    for name in plan.rows:
        assert {record.split for record in plan.shard(name).records} == {name.split("-")[0]}
    first = [row for name, rows in plan.rows.items() if name.startswith("train") for row in rows]
    assert first != sorted(first)


@pytest.mark.parametrize("name", ["fingerprint", "split", "findings"])
def test_a_label_of_an_index_column_is_refused(tmp_path, name):
    source = write_patterns(tmp_path / "source", {"train": 2})
    (source / "train" / "blob").rename(source / "train" / name)
    with pytest.raises(InputError, match=f"label '{name}' has the name of an index column; rename it"):
        make_plan(config(source, tmp_path / "out"))


def test_images_listed_again_are_rejected_and_counted(tmp_path, monkeypatch):
    folder = tmp_path / "source" / "blob"
    folder.mkdir(parents=True)
    for seed in range(3):
        Image.fromarray(draw_pattern(seed, has_blob=True)).save(folder / f"{seed}.png")
    import shards.packing.plan

    read = shards.packing.plan.read_release

    def twice(*args):
        release = read(*args)
        return Release(labels=release.labels, records=[*release.records, release.records[0]])

    monkeypatch.setattr(shards.packing.plan, "read_release", twice)
    plan = make_plan(config(tmp_path / "source", tmp_path / "out"))
    assert plan.num_source == 4
    assert plan.rejected == [
        Rejected(
            source_path="blob/0.png",
            reason="duplicate",
            message="listed more than once; the first of its rows is packed",
        )
    ]


def test_a_rule_for_blanks_changes_a_dataset_only_where_there_are_blanks(source, tmp_path):
    def planned(**options):
        return make_plan(config(source, tmp_path / "out", source_options=SourceOptions(**options)))

    assert planned(blank="absent").options == planned(blank="unknown").options == planned().options
    Image.fromarray(draw_pattern(0, has_blob=True)).save(source / "train" / "unlabelled.png")
    by_rule = {blank: planned(blank=blank) for blank in ("absent", "unknown", None)}
    assert by_rule["absent"].options != by_rule["unknown"].options
    assert by_rule[None].options == by_rule["unknown"].options
    assert by_rule["absent"].source == by_rule["unknown"].source
    assert by_rule[None].blanks == {"blob": "unknown", "clear": "unknown"}


def test_the_digest_of_a_source_is_of_its_records_as_json():
    """Written by hand for speed, and the same as by ``json.dumps``."""
    labels = {"b": 1, 'a"\n': -1}
    told = {"key": "k", "split": "test", "patient_id": "p", "study_id": "s"}
    records = [
        Record(name="ü/\\.png", source_path="x", age=1, labels=labels, findings='no "edema"\t', **told),
        Record(name="y", source_path="y%s", age=1.0, labels=labels, sex="F", indication="%(key)s", **told),
        Record(name="z", source_path="z", is_patient_known=False, boxes=(Box("a", 1, 2, 3, 4, ""),), **told),
        Record(name="v", source_path="v", age=0.1 + 0.2, view="lateral", kept={"ward": "A"}, **told),
    ]
    sizes, refused = [1, None, 2**40, 0], [Rejected(source_path="r", reason="bad-row", message="m")]
    reference = hashlib.sha256(repr(("b", 'a"\n')).encode())
    stored = {field.name for field in fields(Record)} - {"name", "is_patient_known", "box_frame", "boxes", "kept"}
    for record, size in zip(records, sizes, strict=True):
        added = {"boxes", "box_frame", "kept"} if record.boxes or record.kept else set()
        row = {name: getattr(record, name) for name in stored | added} | {"bytes": size}
        reference.update(json.dumps(row, sort_keys=True).encode())
    reference.update(repr(refused[0]).encode())
    assert _source_digest(("b", 'a"\n'), records, sizes, refused) == reference.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "packaged", "name", "image", "num_images"),
    [
        ("chexpert", "chexpert_train.csv.gz", "CheXpert-v1.0-small/train.csv", "{Path}", 223_414),
        ("padchest", f"{PADCHEST}.gz", PADCHEST, "images/{ImageID}", 160_861),
    ],
)
def test_the_whole_list_of_a_large_release_becomes_a_plan_at_once(
    source, packaged, name, image, num_images, monkeypatch
):
    text = gzip.decompress(real_list(packaged))
    files = ListedFiles({name: text}, [image.format_map(row) for row in csv.DictReader(io.StringIO(text.decode()))])
    monkeypatch.setattr(planning, "open_files", lambda path: files)
    begin = time.process_time()
    plan = make_plan(BuildConfig(source=source, input=Path("in"), output=Path("out"), workers=1))
    seconds = time.process_time() - begin
    print(f"{source}: {len(plan.records):,} images in {seconds:.1f} s of processor time")
    assert len(plan.records) == num_images
    assert seconds < MOST_SECONDS
