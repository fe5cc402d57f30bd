"""Files that are written batch by batch, whole or not at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from eval.inference.tables import array_file, check_output, table_file
from shards.base.errors import InputError


def test_an_array_of_however_many_rows(tmp_path: Path) -> None:
    path = tmp_path / "new" / "features.npy"
    with array_file(path, width=3) as write:
        for number in (2, 0, 123_456):
            write(np.full((number, 3), number, dtype=np.float32))
    found = np.load(path)
    assert (found.shape, found.dtype, found[1, 0], found[2, 2]) == ((123_458, 3), np.float32, 2, 123_456)
    with array_file(path, width=2):
        pass
    assert np.load(path).shape == (0, 2)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "array.npy"])
def test_an_error_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("before")
    schema = pa.schema([("a", pa.int64())])

    def fail() -> None:
        if name == "array.npy":
            with array_file(path, width=1) as append:
                append(np.zeros((2, 1), dtype=np.float32))
                raise KeyError
        with table_file(path, schema) as write:
            write(pa.record_batch([pa.array([1])], schema=schema))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_outputs_of_other_kinds_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--output scores: .*give a name that ends in \.csv or \.parquet"):
        check_output(Path("scores"), (".csv", ".parquet"))
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(InputError, match="is a folder; give a file"):
        check_output(tmp_path / "scores.csv", (".csv",))
    (tmp_path / "texts.csv").write_text("path,indication")
    with pytest.raises(InputError, match="is what is read, and would be replaced"):
        check_output(tmp_path / "texts.csv", (".csv",), read=("absent", None, tmp_path / "." / "texts.csv"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match="lies in the packed dataset"):
        check_output(tmp_path / "data" / "index.parquet", (".parquet",))
    (tmp_path / "file").write_text("")
    below = table_file(tmp_path / "file" / "scores.csv", pa.schema([("a", pa.int64())]))
    with pytest.raises(InputError, match=r"^--output .*file/scores\.csv.*cannot be written"):
        below.__enter__()
