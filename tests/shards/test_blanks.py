import numpy as np
import pytest

from shards.blanks import NO_BLANK, blanks_in_words
from shards.derived import merge_datasets, merge_notes
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.sources.options import SourceOptions
from tests.conftest import draw_pattern


@pytest.fixture
def source(tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    for number in range(4):
        Image.fromarray(draw_pattern(number, has_blob=False)).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "list.csv").write_text("file,Edema,Mass\n0.png,1,1\n1.png,0,\n2.png,,\n3.png,-1,1\n")
    return tmp_path / "in"


def build(source, output, *, blank=None, labels=("Edema", "Mass")):
    options = SourceOptions(csv=source / "list.csv", path_column="file", label_columns=labels, blank=blank)
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
