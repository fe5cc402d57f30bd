import functools
import gzip

import pytest

from shards.base.errors import InputError
from shards.sources.files import open_files
from shards.sources.lists import check_encoding, columns_of, read_list


def write(tmp_path, data, name="list.csv"):
    (tmp_path / name).write_bytes(data)
    return open_files(tmp_path), name


packed = functools.partial(gzip.compress, mtime=0)  # tests are called by their contents
PLAIN = "a, b\n1,x\n\n2 , y\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("list.csv", PLAIN.encode()),
        ("list.csv", b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y\r\n"),
        ("list.csv", b"\r\n\r\na,b\r1,x\r2,y\r"),
        ("list.tsv", b"a\tb\n1\tx\n2\ty"),
        ("list.csv.gz", packed(b'a,"b"\n"1",x\n2,"y"\n')),
        ("list.csv", packed(PLAIN.encode())),
        ("list.csv", PLAIN.encode("utf-16")),
        ("list.csv", PLAIN.encode("utf-16-le")),
        ("list.csv", PLAIN.encode("utf-16-be")),
        ("list.csv", PLAIN.encode("utf-32")),
        ("list.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be")),
        ("list.csv.gz", packed(PLAIN.encode("utf-16"))),
        ("list.csv", b"a;b\n1;x\n2;y\n"),
        ("list.csv", b"a\tb\n1\tx\n2\ty\n"),
        ("list.tsv", b"a,b\n1,x\n2,y\n"),
        ("list.txt", b"a|b\n1|x\n2|y\n"),
        ("list.csv", b"sep=;\r\na;b\r\n1;x\r\n2;y\r\n"),
        ("list.csv", b'\xef\xbb\xbf"sep=;"\na;b\n1;x\n2;y\n'),
        ("list.csv", b"a,b,\n1,x,\n2,y,\n"),
        ("list.csv", b"a,b\n1,x,,\n2,y\n"),
        ("list.csv", b"a,b,,\n1,x\n2,y\n"),
        ("list.csv", b" a\t,\xc2\xa0b \n1,x\n2,y\n"),
    ],
)
def test_tables_of_all_kinds(tmp_path, name, data):
    files, name = write(tmp_path, data, name)
    assert columns_of(files, name) == ["a", "b"]
    assert [row.values for row in read_list(files, name, needed=("a", "b"))] == [
        {"a": "1", "b": "x"},
        {"a": "2", "b": "y"},
    ]


def test_the_needed_columns_tell_what_separates(tmp_path):
    files, name = write(tmp_path, b"file,Mass|Edema|Nodule|other,Age;years\nx.png,1|2,3\n")
    (row,) = read_list(files, name, needed=("file", "Age;years"))
    assert row.values == {"file": "x.png", "Mass|Edema|Nodule|other": "1|2", "Age;years": "3"}


def test_quoted_line_ends_and_delimiters(tmp_path):
    files, name = write(tmp_path, b'a;b\n"1;2";"two\nlines, and a comma"\n3;4\n')
    rows = list(read_list(files, name, needed=("b",)))
    assert [(row.line, row["b"]) for row in rows] == [(3, "two\nlines, and a comma"), (4, "4")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_another_encoding_is_refused_with_its_line_or_named(tmp_path, encoding):
    rows = [f"{number},plain" for number in range(5000)] + ["5000,niño", "5001,Muñoz"]
    files, name = write(tmp_path, "\n".join(["a,b", *rows]).encode(encoding))
    with pytest.raises(
        InputError,
        match=r"list\.csv, line 5002: cannot be read, for it is not UTF-8 \(as Latin-1 it reads '5000,niño'\)",
    ):
        list(read_list(files, name, needed=("a",)))
    read = list(read_list(files, name, needed=("a",), encoding=encoding))
    assert [row["b"] for row in read[-2:]] == ["niño", "Muñoz"]


def test_mixed_encodings_are_refused_with_the_first_line(tmp_path):
    files, name = write(tmp_path, "a,b\n1,niño\n".encode() + "2,niño\n".encode("latin-1"))
    with pytest.raises(InputError, match="line 3: cannot be read, for it is not UTF-8"):
        list(read_list(files, name))
    with pytest.raises(InputError, match="line 1: cannot be read, for it is not UTF-8"):
        columns_of(*write(tmp_path, "año,b\n".encode("latin-1"), "other.csv"))
    with pytest.raises(InputError, match="line 2: cannot be read, for it is not ASCII"):
        list(read_list(files, name, encoding="ascii"))


def test_an_encoding_that_is_not_the_lists_is_told(tmp_path):
    files, name = write(tmp_path, b"a,b\n1,2\n")
    for wrong in ("utf-16", "utf-32"):
        with pytest.raises(InputError, match=r"list\.csv.*(BOM|UTF-32)"):
            list(read_list(files, name, encoding=wrong))


def test_unknown_encodings_are_named():
    check_encoding(None)
    check_encoding("cp1252")
    for wrong in ("cp99", "base64"):
        with pytest.raises(InputError, match=f"--encoding {wrong}: unknown"):
            check_encoding(wrong)


def test_a_column_that_is_there_twice(tmp_path):
    files, name = write(tmp_path, b"a,b,c,b,c\n1,x,1,x ,2\n")
    assert [row.values for row in read_list(files, name, needed=("a", "b"))] == [{"a": "1", "b": "x", "c": "2"}]
    with pytest.raises(InputError, match=r"line 2: column 'c' is there 2 times, with different values \('1' and '2'\)"):
        list(read_list(files, name, needed=("a", "c")))


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
        ("list.csv", b"", "column 'a' is missing; the file is empty"),
        ("list.csv", b"\n \n\xef\xbb\xbf", "column 'a' is missing"),
        ("list.csv.gz", b"no gzip", "cannot be read"),
        ("list.csv", b"PK\x03\x04xl/workbook.xml", "it is a workbook or a zip; save its table as CSV"),
        ("list.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "it is a workbook"),
        ("list.csv.gz", packed(b"a,b\n" + b"1,2\n" * 9999)[:-20], "cannot be read"),
        ("list.csv.gz", packed(b"a,b\n" + b"1" * (1 << 24)), "a line of 16,777,216 signs or more"),
        ("list.csv.gz", packed(b"a," * (1 << 23)), "a line of 16,777,216 signs or more"),
        ("list.csv", b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "unexpected end of data; a quotation mark"),
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
