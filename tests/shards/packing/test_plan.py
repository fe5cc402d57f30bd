import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.packing.build import BuildConfig
from shards.packing.plan import make_plan
from shards.sources.options import SourceOptions
from shards.sources.record import Rejected
from shards.sources.release import Release
from tests.conftest import draw_pattern, write_patterns


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
