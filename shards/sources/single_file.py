"""A single image or a list where a folder or a zip is asked for."""

import os
import zipfile
from pathlib import Path

from shards.base.errors import OptionError

_LISTS = (".csv", ".csv.gz", ".tsv", ".xls", ".xlsx", ".ods")


def refuse_single_file(path: Path, *, flag: str, takes_list: bool) -> None:
    """Says what to give in place of what is neither folder nor zip; arguments as of ``open_files``.

    Raises:
        InputError: it is a list, another file that is no zip, or no file.
    """
    if not path.is_file():  # a pipe would keep its reader waiting, a device has no end
        raise OptionError(f"{flag} {path}: is no folder and no file; give the folder of the release, or its zip")
    if flag == "--input" and path.name.lower().endswith(_LISTS):
        by_csv = ", and the list by --csv" if takes_list else ""
        raise OptionError(f"{flag} {path}: is a list; give the folder of the images{by_csv}")
    if path.suffix.lower() != ".zip" and os.access(path, os.R_OK) and not zipfile.is_zipfile(path):
        raise OptionError(f"{flag} {path}: is one file, and no zip; give the folder that holds it")
