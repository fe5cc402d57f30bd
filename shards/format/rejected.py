"""``rejected.parquet``: what a build refused, read back."""

from pathlib import Path

import pyarrow as pa

from shards.base.errors import InputError
from shards.base.stored import read_parquet
from shards.format.manifest import MANIFEST, check_listed, read_manifest
from shards.format.schema import REJECTED_SCHEMA

FILE = "rejected.parquet"


def read_rejected(folder: Path) -> pa.Table:
    """The refused files of a dataset, or of a build that refused too many.

    Raises:
        InputError: it cannot be read, was changed, or is another table.
    """
    path = folder / FILE
    about = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    try:
        table = read_parquet(path)
        check_listed(path, about)
        if not table.schema.equals(REJECTED_SCHEMA):
            raise InputError(f"is no list of refused files, as it has the columns {', '.join(table.column_names)}")
    except (InputError, OSError) as error:
        raise InputError(f"{path}: {error}; copy the whole dataset folder again, or pack it again") from None
    return table
