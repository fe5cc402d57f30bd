import shutil
import subprocess
import sys

import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.packing.build import build_dataset, plan_dataset, run_build
from shards.packing.plan import make_plan
from shards.packing.plan_text import NUM_SAMPLED, estimate
from shards.sources.options import SourceOptions
from tests.conftest import ROOT, draw_pattern, write_patterns
from tests.shards.packing.test_plan import config


@pytest.fixture
def source(tmp_path):
    return write_patterns(tmp_path / "source", {"train": 40, "test": 10})


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


UNTRIED = "test/blob/blob001.png"  # of a hundred images, by the plan

LIST = """file,view,Edema,Mass
0.png,PA,1,1
1.png,L,0,
2.png,COSTAL,,
3.png,,-1,1
4.png,PA,often,1
"""


def test_labels_views_and_what_is_assumed_are_told(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(4):
        Image.fromarray(draw_pattern(number, has_blob=False)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "list.csv").write_text(LIST)
    options = {"csv": tmp_path / "in" / "list.csv", "path_column": "file", "label_columns": ("Edema", "Mass")}

    def told(**more):
        settings = SourceOptions(**(options | more))
        text = plan_dataset(config(tmp_path / "in", tmp_path / "out", source="table", source_options=settings))
        return [line.strip() for line in text.splitlines()]

    text = told(view_column="view")
    assert "labels, present of known: Mass 2 of 2, Edema 1 of 2; a blank label is unknown" in text
    assert "views: frontal 1, lateral 1, not said 1, neither frontal nor lateral 1 (COSTAL 1)" in text
    assert any(
        line.startswith("note: words that are not understood as labels: 'often' 1; --positive-") for line in text
    )
    refused = "refused by the source's own lists: 1 (bad-row 1); first: 4.png: line 6: Edema is 'often'; expected 1, 0"
    assert any(line.startswith(refused) for line in text)
    assert any(line.startswith("warning: 4 images name no patient, and each counts as a patient") for line in text)
    assert "warning: no test split: eval will need one; --split 70/10/20 draws one" in text
    text = told(blank="absent", patient_column="file")
    assert text[1] == "labels, present of known: Mass 2 of 2, Edema 1 of 2; a blank label is absent"
    assert text[2] == "views: none is known, so lateral ones cannot be left out"
    assert not any(line.startswith("warning: 4 images") for line in text)


def test_dry_run_and_build_on_the_command_line(source, tmp_path):
    command = [sys.executable, "-m", "shards", "build", "--source", "folder", "--input", str(source)]
    command += ["--output", str(tmp_path / "out"), "--size", "48", "--workers", "1"]

    def run(*more):
        return subprocess.run([*command, *more], capture_output=True, text=True, cwd=ROOT, check=False)

    dry = run("--dry-run")
    assert dry.returncode == 0
    assert dry.stdout.startswith("plan: 100 images of 100 patients; train 80, test 20\n")
    assert not (tmp_path / "out").exists()
    tried, untried = source / "train" / "blob" / "blob000.png", source / UNTRIED
    whole = tried.read_bytes()
    tried.write_bytes(b"")
    for more in ((), ("--dry-run",)):
        done = run("--max-rejected", "0", *more)
        assert done.returncode == 2
        said = (
            "1 of 100 images (1.00%) are refused already (empty 1), over --max-rejected 0: the build will fail; first: "
        )
        assert f"  warning: {said}train/blob/blob000.png: " in done.stdout
        assert f"error: {said}train/blob/blob000.png: " in done.stderr
        assert not (tmp_path / "out").exists(), "nothing is packed in vain"
    tried.write_bytes(whole)
    untried.write_bytes(b"")
    done = run("--max-rejected", "0")
    assert done.returncode == 1, "too many rejections, which shows at the end"
    assert "failed: --max-rejected 0: 1 of 100 images (1.00%) were rejected (empty 1)" in done.stdout
    done = run()
    assert done.returncode == 0
    assert "100 images in = 99 packed + 1 rejected" in done.stdout
    assert "  rejected, empty: 1 (see " in done.stdout


def test_a_folder_that_is_linked_beside_itself_is_told(source, tmp_path, capsys):
    """By a link to it, by hard links of its files, or as a copy, which shows when it has been read."""
    (source / "train" / "again").symlink_to(source / "train" / "blob")
    (source / "train" / "clear" / "hard.png").hardlink_to(source / "train" / "clear" / "clear000.png")
    text = plan_dataset(config(source, tmp_path / "out"))
    assert (
        "warning: 41 images are files that have another name too, by a link, such as train/again/blob000.png and"
        in text
    )
    (source / "train" / "again").unlink()
    (source / "train" / "clear" / "hard.png").unlink()
    assert "another name" not in plan_dataset(config(source, tmp_path / "out"))
    shutil.copytree(source / "train" / "blob", source / "test" / "blob", dirs_exist_ok=True)
    assert run_build(config(source, tmp_path / "out")) == 0
    told = "note: 40 images are byte for byte the files of others, 40 files being in several splits; moco-cxr shards"
    assert told in capsys.readouterr().out


def test_a_file_that_links_put_into_two_splits_is_refused(source, tmp_path):
    (source / "test" / "clear" / "again.png").symlink_to(source / "train" / "clear" / "clear000.png")
    (tmp_path / "key").write_text("a key of more than sixteen bytes")
    said = "--input: 1 images are in two splits, as their files have two names by links, such as "
    with pytest.raises(
        InputError, match=rf"{said}test/clear/again.png \(test\) and train/clear/clear000.png \(train\)"
    ):
        make_plan(config(source, tmp_path / "out"))
    with pytest.raises(InputError, match=rf"{said}[0-9a-f]{{32}} \("):
        make_plan(config(source, tmp_path / "out", pseudonymise=tmp_path / "key"))
