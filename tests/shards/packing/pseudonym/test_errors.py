"""What ends a build says what to do, and under pseudonyms nothing that was read in the input."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shards.base.errors import InputError
from shards.packing.build import BuildConfig, build_dataset
from shards.packing.image import pack_images
from shards.packing.plan import make_plan
from shards.sources.options import SourceOptions
from tests.shards.packing.pseudonym.planting import NAME, holds_name, jpegs, planted_dicom, pngs, write

PNG = pngs(1)["text"]
TABLE = {"path_column": "file", "label_columns": ("x",), "csv": Path("list.csv")}
DICOM = {"join": "accession", "label_columns": ("x",), "csv": Path("list.csv")}


def table(text, **options):
    return "table", {"list.csv": text, "a.png": PNG, "b.png": PNG}, TABLE | options


CASES = {
    "a column that is missing": (*table(f"file,{NAME}\na.png,1\n"), "--label-columns x: the list has no such column"),
    "a column twice": (*table(f"file,x,x\na.png,{NAME},1\n"), "the reason is withheld"),
    "no UTF-8": (*table(b"file,x\na.png,\xe9" + NAME.encode()), "the reason is withheld"),
    "a quotation mark": (*table(f'file,x\n"a.png {NAME},1\n'), "the list, line 2: cannot be read as a table"),
    "patients in two splits": (
        *table(f"file,x,p,s\na.png,1,{NAME},train\nb.png,1,{NAME},test\n", patient_column="p", split_column="s"),
        "--split-column s: 1 patients are in several splits, so what is tested on would be learnt from",
    ),
    "no image at all": (*table(f"file,x\n../{NAME}.png,1\n"), "no images of a table release found there; check"),
    "a finding that is a column": (
        *table("file,x,f\na.png,1,Plantedname|x\n", label_list_column="f"),
        "--label-columns x: is a finding of --label-list-column too",
    ),
    "no row of any image": (
        *("dicom", {"list.csv": f"accession,x\n{NAME} 2,1\n", "a": planted_dicom(1, AccessionNumber=NAME)}, DICOM),
        "--join accession: no row of the list matches an image",
    ),
    "no column to join by": (
        *("dicom", {"list.csv": f"{NAME},x\n2,1\n", "a": planted_dicom(1)}, DICOM),
        "the reason is withheld",
    ),
    "folders beside splits": (
        *("folder", {"train/a.png": PNG, "test/b.png": PNG, f"{NAME}/c.png": PNG}, {}),
        "holds other folders beside split folders",
    ),
    "an option of another source": (
        "folder",
        {"a.png": PNG},
        {"patient_column": "p"},
        "--patient-column: --source fol",
    ),
}
QUOTE_THE_COMMAND = ("a finding that is a column", "an option of another source")


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"a key of more than sixteen bytes")
    return path


def settings(source, root, tmp_path, key, options=None):
    about = {"source": source, "input": root, "output": tmp_path / "out", "size": 48, "workers": 1}
    return BuildConfig(**about, pseudonymise=key, source_options=SourceOptions(**(options or {})))


@pytest.mark.parametrize("case", [*CASES])
def test_errors_quote_nothing_that_was_read(case, tmp_path, key):
    source, files, options, said = CASES[case]
    config = settings(source, write(tmp_path / "in", files), tmp_path, key, options)
    with pytest.raises(InputError) as plain:
        make_plan(replace(config, pseudonymise=None))
    with pytest.raises(InputError) as hidden:
        make_plan(config)
    assert said in str(hidden.value)
    assert not holds_name(str(hidden.value).encode())
    assert str(plain.value) != str(hidden.value) or case in QUOTE_THE_COMMAND


def test_a_link_out_of_the_input_is_told_without_its_name(tmp_path, key):
    root = write(tmp_path / "in", {"a.png": PNG})
    os.symlink(tmp_path, root / NAME)
    with pytest.raises(InputError, match="the reason is withheld.* repeat the command with --dry-run and without"):
        make_plan(settings("folder", root, tmp_path, key))


def test_a_file_that_changes_meanwhile_is_named_by_its_pseudonym(tmp_path, key):
    root = write(tmp_path / "in", {f"{NAME}.jpg": jpegs(1)["comment"], f"{NAME}2.jpg": jpegs(2)["comment"]})
    plan = make_plan(settings("folder", root, tmp_path, key))
    for file in root.iterdir():
        file.write_bytes(PNG)
    for record, size in zip(plan.records, plan.sizes, strict=True):
        with pytest.raises(InputError, match=f"--input: {record.key} has changed") as caught:
            list(pack_images([record], [size], plan.packing))
        assert not holds_name(str(caught.value).encode())


def test_what_a_cluster_may_log_of_a_failed_task_names_nobody(tmp_path, key):
    root = write(tmp_path / "in", {f"{NAME}.jpg": jpegs(1)["comment"]})
    plan = make_plan(settings("folder", root, tmp_path, key))
    assert plan.records[0].name == f"{NAME}.jpg", "by which the worker reads it"
    assert not holds_name(repr([plan.shard(name) for name in plan.rows]).encode())
    assert not holds_name(repr(plan.packing).encode())
    assert key.read_bytes() not in repr(plan.packing).encode()


def test_where_nothing_can_be_packed_the_input_is_not_named(tmp_path, key):
    root = write(tmp_path / f"{NAME} export", {f"{NAME}.jpg": jpegs(1)["comment"][:300]})
    with pytest.raises(InputError, match="--input: none of its 1 images could be packed") as caught:
        build_dataset(settings("folder", root, tmp_path, key))
    assert not holds_name(str(caught.value).encode())
