"""Results survive their file, and files that are none are refused in one line."""

import dataclasses
import json

import pytest

from eval.results import ProbeResult, load_result, save_result
from shards.errors import InputError


def test_a_result_survives_its_file(result: ProbeResult, tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    save_result(result, path)
    assert load_result(path) == result
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[1]", "format version None"),
        ('{"format_version": 99}', "format version 99"),
        ('{"format_version": 1, "readout": "linear"}', "damaged"),
    ],
)
def test_other_files_are_refused(content: str | None, message: str, tmp_path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_result(path)


def test_the_file_holds_what_repeating_needs(result: ProbeResult, tmp_path) -> None:
    save_result(result, tmp_path / "a.json")
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored.keys() == {"format_version", *(field.name for field in dataclasses.fields(ProbeResult))}
    assert stored["starts"]["pretrained"]["hashes"] == ["1" * 16]
    assert stored["fractions"][0]["draws"][1]["num_images"] == 12
