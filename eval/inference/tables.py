"""What is written: tables as CSV or Parquet, features as one array with a table of keys; whole or not at all, in the
memory of one batch."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shards.base.atomic import atomic_file
from shards.base.errors import InputError, check_outside_datasets, writing

Write = Callable[[pa.RecordBatch], None]
TABLES = (".csv", ".parquet")
_NPY_HEADER = 128  # bytes


def check_output(path: Path, suffixes: tuple[str, ...], *, read: Sequence[str | Path | None] = ()) -> None:
    """Refuses an output of another kind, or in place of something else, before anything is computed.

    Args:
        read: what the command reads.

    Raises:
        InputError: it has another suffix, is a folder, would replace what is read, or lies in a packed dataset.
    """
    if path.suffix.lower() not in suffixes:
        listed = " or ".join(suffixes)
        raise InputError(f"--output {path}: says by its end what it is to hold; give a name that ends in {listed}")
    if path.is_dir():
        raise InputError(f"--output {path}: is a folder; give a file")
    if path.is_file() and any(each and os.path.isfile(each) and path.samefile(each) for each in read):
        raise InputError(f"--output {path}: is what is read, and would be replaced; name another file")
    check_outside_datasets(path)


@contextlib.contextmanager
def table_file(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Writes batches of a schema into a CSV or Parquet file.

    Raises:
        InputError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file, _writer(file, path, schema) as writer:
            yield writer.write_batch


def write_table(path: Path | None, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    """The batches as one table in memory, written to ``path`` as well if there is one.

    Raises:
        InputError: it cannot be written.
    """
    kept = []
    with contextlib.nullcontext() if path is None else table_file(path, schema) as write:
        for batch in batches:
            kept.append(batch)
            if write is not None:
                write(batch)
    return pa.Table.from_batches(kept, schema=schema)


def _writer(file: BinaryIO, path: Path, schema: pa.Schema) -> "pq.ParquetWriter | pyarrow.csv.CSVWriter":
    if path.suffix.lower() == ".csv":
        return pyarrow.csv.CSVWriter(file, schema)
    return pq.ParquetWriter(file, schema, compression="zstd")


@contextlib.contextmanager
def array_file(path: Path, *, width: int) -> Iterator[Callable[[npt.NDArray[np.float32]], None]]:
    """Writes rows (n, ``width``) float32 into an ``.npy`` file, however many come.

    Raises:
        InputError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(_npy_header(0, width))
            num_rows = 0

            def write(rows: npt.NDArray[np.float32]) -> None:
                nonlocal num_rows
                file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
                num_rows += len(rows)

            yield write
            file.seek(0)
            file.write(_npy_header(num_rows, width))


def _npy_header(num_rows: int, width: int) -> bytes:
    """Of one length whatever the number of rows: NumPy leaves room for it to grow."""
    header = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, width)}
    np.lib.format.write_array_header_1_0(header, about)
    assert len(header.getvalue()) == _NPY_HEADER
    return header.getvalue()
