import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.assumed import NO_BLANK, blanks_in_words, known_patients, of_view, patients_in_words
from shards.base.errors import InputError
from shards.derived import merge_datasets, merge_notes
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from tests.conftest import draw_pattern
from tests.shards.sealed import seal


@pytest.fixture
def source(tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    for number in range(4):
        Image.fromarray(draw_pattern(number, has_blob=False)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "list.csv").write_text("file,Edema,Mass\n0.png,1,1\n1.png,0,\n2.png,,\n3.png,-1,1\n")
    return tmp_path / "in"


def build(source, output, *, blank=None, labels=("Edema", "Mass"), patient=None):
    options = SourceOptions(
        csv=source / "list.csv", path_column="file", label_columns=labels, blank=blank, patient_column=patient
    )
    build_dataset(BuildConfig(source="table", input=source, output=output, workers=1, source_options=options))
    return ShardIndex.open(output)


def test_the_rule_in_a_sentence(source, tmp_path):
    unknown, absent = build(source, tmp_path / "a"), build(source, tmp_path / "b", blank="absent")
    told = "and left out of training, test and every count."
    assert blanks_in_words(unknown, ("Edema", "Mass")) == f"Blank labels are unknown in a, {told}"
    assert blanks_in_words(absent, ("Edema",)) == "Blank labels count as absent in b."
    assert blanks_in_words(absent.where(Edema=1), ("Edema", "Mass")) == NO_BLANK
    few = build(source, tmp_path / "c", labels=("Edema",))
    text = blanks_in_words(ShardIndex.open(*few.folders, *absent.folders), ("Edema", "Mass"))
    assert text == f"Blank labels count as absent in b. Blank labels are unknown in c, {told}"
    assert np.isnan(ShardIndex.open(*few.folders, *absent.folders).labels("Mass")[:4]).all()


def test_a_merge_says_where_members_mean_something_else(source, tmp_path):
    build(source, tmp_path / "a")
    build(source, tmp_path / "b", blank="absent")
    notes = merge_notes(merge_datasets([tmp_path / "a", tmp_path / "b"], tmp_path / "both"))
    assert notes == [f"label {name!r} left blank is unknown in a, absent in b" for name in ("Edema", "Mass")]


def test_unknown_patients_are_told(source, tmp_path):
    index = build(source, tmp_path / "a")
    assert patients_in_words(index) == "Patients are unknown in a: each image counts as a patient of its own."
    (source / "list.csv").write_text("file,who,Edema,Mass\n0.png,p,1,1\n1.png,p,0,\n2.png,,,\n3.png,q,-1,1\n")
    few, all_known = (build(source, tmp_path / name, patient=column) for name, column in (("b", "who"), ("c", "file")))
    assert patients_in_words(all_known) == ""
    text = patients_in_words(ShardIndex.open(*few.folders, *all_known.folders, *index.folders))
    assert text.startswith("Patients are unknown in b (1 of its 4 images), a: each")
    assert [known_patients(one) for one in (index, few, all_known)] == ["none", "some", "all"]
    assert known_patients(ShardIndex.open(*all_known.folders, *index.folders)) == "some"


def test_folders_packed_before_unknown_patients_were_counted(tiny_dataset, source, tmp_path):
    build(source, tmp_path / "table", patient="Edema")
    shutil.copytree(tiny_dataset, tmp_path / "folder")
    for name in ("folder", "table"):
        about = json.loads((tmp_path / name / "dataset.json").read_text())
        del about["totals"]["images_without_patient"]
        seal(tmp_path / name, totals=about["totals"])
    assert known_patients(ShardIndex.open(tmp_path / "folder")) == "none"
    assert known_patients(ShardIndex.open(tmp_path / "table")) == "all"


def test_what_has_no_view_leaves_with_a_word_or_is_refused(tiny_dataset, tmp_path, capsys):
    index = ShardIndex.open(tiny_dataset)
    assert of_view(index, "all", what="--view all") is index
    with pytest.raises(
        InputError, match=r"--view frontal: selects no image, because none of the 96 says its view.*--view-column"
    ):
        of_view(index, "frontal", what="--view frontal")
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    table = pq.read_table(folder / "index.parquet")
    views = pa.array([(None, "frontal", "lateral")[number % 3] for number in range(96)])
    pq.write_table(table.set_column(table.column_names.index("view"), "view", views), folder / "index.parquet")
    index = ShardIndex.open(seal(folder))
    assert not capsys.readouterr().err
    assert len(of_view(index, "frontal", what="--view frontal")) == 32
    assert capsys.readouterr().err == "note: --view frontal: 32 of 96 images leave, whose view is not known\n"
    with pytest.raises(InputError, match="--view lateral: selects no image"):
        of_view(index.where(view="frontal"), "lateral", what="--view lateral")
