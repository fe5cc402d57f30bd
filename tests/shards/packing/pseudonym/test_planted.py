"""A name that is planted wherever one can stand comes out nowhere, whatever the source."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shards.base.errors import InputError
from shards.checks.rejected import rejected_text
from shards.checks.stats import dataset_stats
from shards.checks.stats_text import stats_text
from shards.derived import filter_rows, merge_datasets, write_subset
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, run_build
from shards.sources.options import SourceOptions
from tests.shards.builds import interrupt_after
from tests.shards.packing.pseudonym import planting
from tests.shards.packing.pseudonym.planting import NAME, everything_in, holds_name

TABLE = SourceOptions(
    csv=Path(f"{NAME}.csv"),
    path_column="file",
    patient_column="patient",
    study_column="study",
    view_column="view",
    sex_column="sex",
    age_column="age",
    split_column="fold",
    label_columns=("Edema",),
    label_list_column="found",
    indication_column="why",
    findings_column="report",
)
JOINED = SourceOptions(csv=Path(f"{NAME}.csv"), join="accession", label_columns=("Edema",))
SHENZHEN = planting.films_release("CHNCXR", f"male 45yrs {NAME}\n{NAME}\n")
MONTGOMERY = planting.films_release("MCUCXR", f"Patient's Sex: {NAME}\nPatient's Age: 027Y {NAME}\n{NAME}\n")
RELEASES = {
    "folder": ("folder", planting.folder_release, SourceOptions()),
    "table": ("table", planting.table_release, TABLE),
    "dicom": ("dicom", planting.dicom_release, SourceOptions()),
    "dicom with a list": ("dicom", planting.dicom_release, JOINED),
    "nih": ("nih", planting.nih_release, SourceOptions()),
    "chexpert": ("chexpert", planting.chexpert_release, SourceOptions()),
    "mimic": ("mimic", planting.mimic_release, None),
    "shenzhen": ("shenzhen", SHENZHEN, SourceOptions()),
    "montgomery": ("montgomery", MONTGOMERY, SourceOptions()),
}


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"a key of more than sixteen bytes")
    return path


def settings(name, tmp_path, key, **more):
    source, make, options = RELEASES[name]
    root = make(tmp_path)
    options = options or SourceOptions(reports=root)
    if more.pop("in_a_zip", False):
        root = planting.zipped(root)
    defaults = {
        "size": planting.SIDE,
        "workers": 1,
        "shard_images": 16 if source == "folder" else 3,
        "max_rejected": 0.9,
        "name": "hidden",
    }
    given = {"source": source, "input": root, "output": tmp_path / "out", "pseudonymise": key}
    return BuildConfig(**(given | defaults | more), source_options=options)


def assert_nameless(found):
    assert not [place for place, data in found.items() if holds_name(data)]


@pytest.mark.parametrize(("name", "format"), [*((name, "jpeg") for name in RELEASES), ("folder", "png")])
def test_a_planted_name_comes_out_nowhere(name, format, tmp_path, key, monkeypatch, capfd):
    config = settings(name, tmp_path, key, format=format, in_a_zip=name == "nih" or format == "png")
    assert run_build(replace(config, pseudonymise=None), dry_run=True) == 0
    assert holds_name("".join(capfd.readouterr()).encode()), "so it can be found"
    assert run_build(config, dry_run=True) == 0
    interrupt_after(monkeypatch, 1, config)
    assert_nameless(everything_in(config.output))
    try:
        status = run_build(replace(config, max_rejected=0.0))
    except InputError as refused:  # as the plan knows of rejections
        status = 1
        print(refused)
    assert run_build(config) == 0
    assert status == (pq.read_table(config.output / "rejected.parquet").num_rows > 0)
    assert run_build(config) == 0, "the notes again, of what is complete"
    said = "".join(capfd.readouterr())
    assert said.count("plan:") == 2 + ("nothing was packed" in said)
    assert_nameless(everything_in(config.output) | {"said": said.encode()})


def test_what_is_made_of_a_dataset_names_nobody_either(tmp_path, key, capfd):
    config = settings("table", tmp_path, key)
    run_build(config)
    run_build(replace(config, output=tmp_path / "second", size=planting.SIDE // 2))
    index = ShardIndex.open(config.output)
    write_subset(filter_rows(index, ["split=train"]), tmp_path / "part", selection={"where": "split=train"})
    merge_datasets([tmp_path / "part", tmp_path / "second"], tmp_path / "both")
    capfd.readouterr()
    told = stats_text(dataset_stats(index)) + rejected_text([config.output])
    assert_nameless({"told": told.encode()})
    for name in ("part", "both"):
        assert_nameless(everything_in(tmp_path / name))
