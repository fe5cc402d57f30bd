from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.format.manifest import read_manifest
from shards.packing.build import build_dataset, plan_dataset
from shards.packing.plan import make_plan
from shards.packing.split import Shares, draw_splits, shared_patients
from shards.sources.options import SourceOptions
from shards.sources.record import Record
from tests.conftest import draw_pattern
from tests.shards.packing.test_plan import config


def record(number: int, patient: str, split: str = "train") -> Record:
    name = f"{number}.png"
    return Record(key=f"k{number}", name=name, source_path=name, split=split, patient_id=patient, study_id=name)


def test_patients_are_whole_and_shares_about_as_asked():
    records = [record(number, f"p{number // 3}") for number in range(6000)]
    drawn = draw_splits(records, Shares.parse("70/10/20"), seed=0)
    assert not shared_patients(drawn)
    counts = Counter(one.split for one in drawn)
    for split, share in {"train": 0.7, "valid": 0.1, "test": 0.2}.items():
        assert counts[split] / 6000 == pytest.approx(share, abs=0.03)
    assert [replace(one, split="train") for one in drawn] == records
    assert drawn == draw_splits(records, Shares.parse("0.7/0.1/0.2"), seed=0)
    assert drawn != draw_splits(records, Shares.parse("70/10/20"), seed=1)


def test_splits_stay_as_images_are_added():
    shares = Shares.parse("60:20:20")
    few = draw_splits([record(number, f"p{number}") for number in range(50)], shares, seed=3)
    more = draw_splits([record(number, f"p{number % 70}") for number in range(200)], shares, seed=3)
    split_of = {one.patient_id: one.split for one in more}
    assert all(split_of[one.patient_id] == one.split for one in few)


def test_none_for_one_split():
    drawn = draw_splits([record(number, f"p{number}") for number in range(300)], Shares.parse("80/0/20"), seed=0)
    assert {one.split for one in drawn} == {"train", "test"}


@pytest.mark.parametrize("text", ["70/30", "70/10/10", "a/b/c", "120/-40/20", "0/50/50", "", "70/10/20/0"])
def test_shares_that_make_no_sense(text):
    with pytest.raises(InputError, match=f"--split {text}: .*such as 70/10/20"):
        Shares.parse(text)


def test_a_source_with_splits_of_its_own_keeps_them():
    with pytest.raises(InputError, match=r"--split: the source has splits of its own \(test, train\)"):
        draw_splits([record(0, "p"), record(1, "q", "test")], Shares.parse("70/10/20"), seed=0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    lines = ["file,who,fold,Edema"]
    for number in range(24):
        Image.fromarray(draw_pattern(number, has_blob=False)).save(tmp_path / "in" / f"{number}.png")
        lines.append(f"{number}.png,p{number // 2},{'train' if number < 13 else 'test'},{number % 2}")
    (tmp_path / "in" / "list.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "in"


def settings(source, output, *, split_column=None, **more):
    options = SourceOptions(
        csv=Path("list.csv"),
        path_column="file",
        patient_column="who",
        label_columns=("Edema",),
        split_column=split_column,
    )
    return config(source, output, source="table", source_options=options, **more)


def test_a_build_draws_splits(source, tmp_path):
    build_dataset(settings(source, tmp_path / "out", split="50/25/25", split_seed=1))
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    shares = Shares.parse("50/25/25")
    assert len({row["split"] for row in index}) == 3
    assert all(row["split"] == shares.of(row["patient_id"], seed=1) for row in index)
    about = read_manifest(tmp_path / "out")
    assert (about["split"], about["split_seed"]) == ("50/25/25", 1)
    with pytest.raises(InputError, match="was packed with --split-seed 1, not 0; choose another folder or remove it"):
        build_dataset(settings(source, tmp_path / "out", split="50/25/25"))
    secret = tmp_path / "key"
    secret.write_text("0123456789abcdef")
    build_dataset(settings(source, tmp_path / "hidden", split="50/25/25", split_seed=1, pseudonymise=secret))
    hidden = pq.read_table(tmp_path / "hidden" / "index.parquet")
    assert Counter(hidden["split"].to_pylist()) == Counter(row["split"] for row in index), "of the same patients"


def test_a_column_that_learns_from_a_test_patient_is_refused(source, tmp_path):
    with pytest.raises(
        InputError, match=r"--split-column fold: 1 patients are in several splits, such as p6 in test and"
    ):
        make_plan(settings(source, tmp_path / "out", split_column="fold"))
    with pytest.raises(InputError, match="--split-seed 3: has no meaning without --split"):
        make_plan(settings(source, tmp_path / "out", split_seed=3))
    drawn = settings(source, tmp_path / "out", split="50/25/25")
    assert "no test split" not in plan_dataset(drawn)
    assert make_plan(settings(source, tmp_path / "out")).options != make_plan(drawn).options
