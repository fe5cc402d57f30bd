import sys

import pytest

from shards.__main__ import main
from shards.base.errors import InputError
from shards.checks.rejected import rejected_text
from shards.derived import open_rows, write_subset
from shards.packing.build import BuildConfig, TooManyRejected, build_dataset
from tests.conftest import write_patterns


@pytest.fixture
def source(tmp_path):
    source = write_patterns(tmp_path / "source", {"train": 6})
    (source / "train" / "blob" / "blob000.png").write_bytes(b"")
    (source / "train" / "blob" / "blob001.png").write_bytes(b"no image")
    return source


def build(source, output, **options):
    build_dataset(BuildConfig(source="folder", input=source, output=output, size=48, workers=1, **options))


def test_each_file_with_its_reason(source, tmp_path, monkeypatch, capsys):
    build(source, tmp_path / "data", max_rejected=0.5)
    text = rejected_text([tmp_path / "data"])
    assert text.splitlines() == [
        f"{tmp_path / 'data'}: 2 rejected",
        "  empty: 1",
        "    train/blob/blob000.png: the file has no bytes",
        "  not-an-image: 1",
        "    train/blob/blob001.png: no known image format",
    ]
    write_subset(open_rows([tmp_path / "data"], ["blob=1"]), tmp_path / "view", selection={})
    assert rejected_text([tmp_path / "view"]) == text
    monkeypatch.setattr(sys, "argv", ["shards", "stats", str(tmp_path / "data"), "--rejected"])
    assert main() == 0
    assert capsys.readouterr().out.strip() == text


def test_of_a_build_that_refused_too_many(source, tmp_path):
    with pytest.raises(
        TooManyRejected, match=r"first: train/blob/.*; each with its reason: moco-cxr shards stats .* --rej"
    ):
        build(source, tmp_path / "data")
    assert "not-an-image: 1" in rejected_text([tmp_path / "data"])
    with pytest.raises(InputError, match="no such folder"):
        rejected_text([tmp_path / "none"])
