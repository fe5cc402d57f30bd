"""Label draws as files, from the command line.

    python -m eval draws export --data data/chexpert --label Edema --fraction 0.01 0.1 --output draws.parquet
    python -m eval draws import --data data/chexpert --label Edema --source lists/*.csv --output draws.parquet
    python -m eval linear --run runs/first --data data/chexpert --label Edema --draw-file draws.parquet ...

To hand to others, and to take theirs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from eval.grid.config import DrawsConfig
from eval.study.cohort import NO_FOLDS, open_cohort
from eval.study.draws import LabelledDraw, labelled_draws, wrong_with
from shards.base.atomic import atomic_file
from shards.base.errors import InputError
from shards.base.stored import read_file
from shards.base.words import reason_of
from shards.index import ShardIndex

_PATH_COLUMNS = ("path", "Path", "source_path", "key")


def run_draws(action: Literal["export", "import"], config: DrawsConfig) -> None:
    """Writes ``config.output`` and prints what it holds.

    Raises:
        InputError: as :func:`eval.study.cohort.open_cohort`; lists that are no CSV, lack a column or name images
            that are not in the training set.
    """
    if action == "export" and config.source:
        raise InputError("--source: goes with import; leave it away")
    if action == "import" and not config.source:
        raise InputError("--source: no list given; give the CSV files to import")
    if config.settings.protocol == "cross-validated":
        raise InputError(f"--protocol cross-validated: {NO_FOLDS}")
    cohort = open_cohort(config.settings, fraction=config.fraction if action == "export" else ())
    (fold,) = cohort.folds
    train, draws = fold.parts.train, fold.draws
    if action == "import":
        rows = read_lists(config.source, train)
        wanted: dict[float, list[int]] = {}
        for fraction, draw in sorted(rows):
            wanted.setdefault(fraction, []).append(draw)
        draws = labelled_draws(train, cohort.labels, wanted, protocol=cohort.protocol, imported=rows)
    export_draws(config.output, draws, train)
    for each in draws:
        counts = ", ".join(
            f"{label} {positives:,} of {images:,}"
            for label, positives, images in zip(cohort.labels, each.num_positives, each.num_images, strict=True)
        )
        mark = " (extended)" if each.is_extended else ""
        print(f"{100 * each.fraction:g} %, draw {each.draw}: {each.num_patients:,} patients; {counts}{mark}")
    print(f"written: {config.output}")


def read_lists(paths: tuple[Path, ...], train: ShardIndex) -> dict[tuple[float, int], np.ndarray]:
    """Rows by fraction and draw, of CSV lists.

    Raises:
        InputError: see :func:`run_draws`.
    """
    by_path = dict(zip(train.column("source_path"), train.rows.tolist(), strict=True))
    by_key = dict(zip(train.column("key"), train.rows.tolist(), strict=True))
    rows: dict[tuple[float, int], list[int]] = {}
    for path in paths:
        table = _read_csv(path)
        name = next((name for name in _PATH_COLUMNS if name in table.column_names), _PATH_COLUMNS[0])
        wrong = wrong_with(table, (name, "fraction", "draw"))
        if wrong:
            raise InputError(f"--source {path}: {wrong}; one row an image, with the columns {name}, fraction and draw")
        strange = []
        columns = (table[each].to_pylist() for each in (name, "fraction", "draw"))
        for image, fraction, draw in zip(*columns, strict=True):
            row = by_key.get(str(image)) if name == "key" else _row_of_path(str(image), by_path)
            if row is None:
                strange.append(str(image))
            else:
                rows.setdefault((float(fraction), int(draw)), []).append(row)
        if strange:
            some = ", ".join(strange[:3])
            raise InputError(
                f"--source {path}: {len(strange)} images are not in the training set, such as {some}; give the "
                "dataset, splits and view that they are of"
            )
    return {key: np.unique(np.array(found, dtype=np.int64)) for key, found in rows.items()}


def _read_csv(path: Path) -> pa.Table:
    try:
        content = read_file(path)
        content.decode()  # a table's names are not looked at where it is read
        are_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_PATH_COLUMNS, pa.string()))
        return pyarrow.csv.read_csv(pa.BufferReader(content), convert_options=are_text)
    except (pa.ArrowException, ValueError) as error:
        why = str(error) if isinstance(error, InputError) else f"is no CSV ({reason_of(error)})"
        raise InputError(f"--source {path}: {why}; give a list of path, fraction and draw") from None


def _row_of_path(path: str, by_path: dict[str, int]) -> int | None:
    """The row of a path under which the dataset knows the image, with fewer or other folders in front."""
    parts = path.split("/")
    return next((by_path[tail] for first in range(len(parts)) if (tail := "/".join(parts[first:])) in by_path), None)


def export_draws(path: Path, draws: Sequence[LabelledDraw], index: ShardIndex) -> None:
    """Writes the draws as Parquet, one row for each image of a draw: dataset, key, fraction, draw."""
    tables = []
    for draw in draws:
        chosen = index.take(index.positions(draw.rows)).table.select(["dataset", "key"])
        chosen = chosen.append_column("fraction", pa.array([draw.fraction] * len(chosen), pa.float64()))
        tables.append(chosen.append_column("draw", pa.array([draw.draw] * len(chosen), pa.int32())))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        pq.write_table(pa.concat_tables(tables).combine_chunks().replace_schema_metadata(None), file)
