import gzip

import pytest

from shards.base.errors import InputError
from shards.sources.files import open_files
from shards.sources.lists import columns_of, read_list


def write(tmp_path, data, name="list.csv"):
    (tmp_path / name).write_bytes(data)
    return open_files(tmp_path), name


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("list.csv", b"a, b\n1,x\n\n2 , y\n"),
        ("list.csv", b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y\r\n"),
        ("list.tsv", b"a\tb\n1\tx\n2\ty"),
        ("list.csv.gz", gzip.compress(b'a,"b"\n"1",x\n2,"y"\n')),
    ],
)
def test_tables_of_all_kinds(tmp_path, name, data):
    files, name = write(tmp_path, data, name)
    assert columns_of(files, name) == ["a", "b"]
    assert [row.values for row in read_list(files, name, needed=("a", "b"))] == [
        {"a": "1", "b": "x"},
        {"a": "2", "b": "y"},
    ]


def test_rows_with_more_or_fewer_fields_have_a_problem(tmp_path):
    rows = list(read_list(*write(tmp_path, b"a,b\n1\n1,2,3\n1,2\n"), needed=("a",)))
    assert [row.problem for row in rows] == [
        "line 2 has 1 fields, the header 2",
        "line 3 has 3 fields, the header 2",
        None,
    ]
    assert rows[0].get("b") == ""


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("list.csv", b"a,c\n", r"list\.csv: column 'b' is missing; it has 'a', 'c'"),
        ("list.csv", b"", "column 'a' is missing"),
        ("list.csv.gz", b"no gzip", "cannot be read"),
        ("list.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 9999)[:-20], "cannot be read"),
        ("list.csv", b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "unexpected end of data"),
        ("list.csv", b'a,b\n1,2\n3,"4\n5,6\n7,"8"\n', "expected after"),
        ("list.csv", b'a,b\n"' + b"x" * 200_000, "line 2: cannot be read as a table"),
    ],
)
def test_what_is_no_such_table(tmp_path, name, data, message):
    with pytest.raises(InputError, match=message):
        list(read_list(*write(tmp_path, data, name), needed=("a", "b")))


def test_a_missing_list(tmp_path):
    with pytest.raises(InputError, match=r"list\.csv: cannot be read"):
        list(read_list(open_files(tmp_path), "list.csv"))
