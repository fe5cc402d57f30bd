from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from shards.base.errors import InputError
from shards.packing.build import BuildConfig
from shards.sources.files import open_files
from shards.sources.options import OF_EVERY_SOURCE, SourceOptions
from shards.sources.record import Rejected
from shards.sources.registry import SOURCES, Source, read_release
from shards.sources.release import Note
from tests.conftest import ROOT
from tests.shards.sources import example_source

EXAMPLE = Path(example_source.__file__)


@pytest.fixture
def example(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "example", Source(example_source.read))
    (tmp_path / "labels.csv").write_text("file,patient,fold,Effusion\na,p1,1,1\nb,p1,5,?\nc,p2,2,often\nd,p2\n")
    return open_files(tmp_path)


def test_the_example_of_contributing(example):
    found = read_release("example", example, SourceOptions())
    assert [(record.name, record.split, record.labels["Effusion"]) for record in found.records] == [
        ("images/a.png", "train", 1),
        ("images/b.png", "test", -1),
    ]
    assert [(row.source_path, row.reason) for row in found.rejected] == [
        ("images/c.png", "bad-row"),
        ("images/d.png", "bad-row"),
    ]


def test_contributing_shows_the_example_as_it_is_tested():
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 60
    contributing = ROOT / "CONTRIBUTING.md"
    if not contributing.is_file():
        pytest.skip("no CONTRIBUTING.md in this tree")
    assert text in contributing.read_text()


def test_the_command_line_offers_all_sources():
    assert set(get_args(get_type_hints(BuildConfig)["source"])) == set(SOURCES)


def test_each_source_says_which_options_it_reads():
    known = set(get_type_hints(SourceOptions))
    used = [source.options for source in SOURCES.values()]
    assert OF_EVERY_SOURCE.union(*used) == known, "an option that no source reads, or the other way round"


def test_unknown_and_empty_inputs(tmp_path):
    with pytest.raises(InputError, match="--source other: unknown; known sources: brax, candid, chexpert"):
        read_release("other", open_files(tmp_path), SourceOptions())
    with pytest.raises(InputError, match="no images of a folder release found"):
        read_release("folder", open_files(tmp_path), SourceOptions())


def test_a_file_listed_twice_is_packed_once(example, tmp_path):
    lines = "file,patient,fold,Effusion\n" + "a,p1,1,1\n" * 3 + "b,p1,1,1\nb,p1,1,0\n../../x,p1,1,0\n"
    (tmp_path / "labels.csv").write_text(lines)
    found = read_release("example", example, SourceOptions())
    assert [record.labels["Effusion"] for record in found.records] == [1]
    assert [(row.source_path, row.reason) for row in found.rejected] == [
        ("images/b.png", "duplicate"),
        ("images/../../x.png", "bad-path"),
    ]
    assert found.rejected[0].message == "listed in 2 rows with different values (Effusion is 1 and 0)"
    assert found.notes == ["2 rows repeat another word for word and were left out"]


def test_names_that_would_steer_a_terminal_are_shown_on_one_line(tmp_path):
    (tmp_path / "train" / "a\x1b[31m").mkdir(parents=True)
    (tmp_path / "train" / "a\x1b[31m" / "x\nerror: y\u2028.png").write_bytes(b"")
    release = read_release("folder", open_files(tmp_path), SourceOptions())
    (record,) = release.records
    assert record.source_path == "train/a\\x1b[31m/x\\nerror: y\\u2028.png"
    assert open_files(tmp_path).read(record.name) == b"", "the file is found by its name"
    assert "\n" not in Rejected(source_path="a", reason="b", message="c\nd").message
    assert Note("left out: x\ny.txt") == "left out: x\\ny.txt"
