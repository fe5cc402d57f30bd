import subprocess
import sys

import pytest
from PIL import Image

from shards.packing.build import BuildConfig, build_dataset, plan_dataset
from shards.packing.plan import NUM_SAMPLED, estimate, make_plan
from shards.sources.options import SourceOptions
from shards.sources.record import Rejected
from shards.sources.release import Release
from tests.conftest import ROOT, draw_pattern, write_patterns


@pytest.fixture
def source(tmp_path):
    return write_patterns(tmp_path / "source", {"train": 40, "test": 10})


def config(folder, output, **options):
    defaults = {"source": "folder", "size": 48, "shard_images": 16, "workers": 1}
    return BuildConfig(input=folder, output=output, **(defaults | options))


def test_the_plan_in_words(source, tmp_path):
    (source / "train" / "blob" / "blob000.png").unlink()
    (source / "train" / "blob" / "blob000.png").symlink_to("nowhere")
    text = plan_dataset(config(source, tmp_path / "out"))
    assert "plan: 100 images of 100 patients; train 80, test 20" in text
    assert "in 7 shards, 48 px JPEG of quality 95" in text
    assert "missing or unreadable: 1" in text
    assert "with 1 workers (37 images tried:" in text
    assert not (tmp_path / "out").exists(), "a dry run writes nothing"


def test_the_estimate_is_about_what_the_build_comes_to(source, tmp_path):
    plan = make_plan(config(source, tmp_path / "out"))
    about = estimate(plan, list(plan.rows))
    totals = build_dataset(config(source, tmp_path / "out"))
    assert about.num_sampled == NUM_SAMPLED + 1
    assert about.image_bytes * totals.num_packed == pytest.approx(totals.num_bytes, rel=0.1)
    assert 1e-5 < about.image_seconds < 0.1


def test_each_record_lies_in_one_shard_and_rows_are_permuted_within_splits(source, tmp_path):
    plan = make_plan(config(source, tmp_path / "out"))
    assert sorted(row for rows in plan.rows.values() for row in rows) == list(range(100))
    for name in plan.rows:
        assert {record.split for record in plan.shard(name).records} == {name.split("-")[0]}
    first = [row for name, rows in plan.rows.items() if name.startswith("train") for row in rows]
    assert first != sorted(first)


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


def test_dry_run_and_build_on_the_command_line(source, tmp_path):
    command = [sys.executable, "-m", "shards", "build", "--source", "folder", "--input", str(source)]
    command += ["--output", str(tmp_path / "out"), "--size", "48", "--workers", "1"]

    def run(*more):
        return subprocess.run([*command, *more], capture_output=True, text=True, cwd=ROOT, check=False)

    dry = run("--dry-run")
    assert dry.returncode == 0
    assert dry.stdout.startswith("plan: 100 images of 100 patients; train 80, test 20\n")
    assert not (tmp_path / "out").exists()
    (source / "train" / "blob" / "blob000.png").write_bytes(b"")
    done = run("--max-rejected", "0")
    assert done.returncode == 1, "too many rejections"
    assert "failed: --max-rejected 0: 1 of 100 images (1.00%) were rejected (empty 1)" in done.stdout
    done = run()
    assert done.returncode == 0
    assert "100 images in = 99 packed + 1 rejected" in done.stdout
    assert "  rejected, empty: 1 (see " in done.stdout
