"""``results.json``: a comparison as a file, and what must hold in it together."""

import json
from pathlib import Path

from eval.readouts.registry import READOUTS
from eval.results.table import Comparison, GapRow, Row, SubgroupRow
from eval.study.protocol import Protocol
from eval.words import MACRO, MICRO
from pipeline.views import ViewSpec
from shards.base.atomic import atomic_write
from shards.base.dataclass_io import from_written, to_mapping
from shards.base.errors import InputError
from shards.base.stored import read_digested, with_digest
from shards.base.words import as_called

FORMAT_VERSION = 2
FILE = "results.json"


def save_comparison(comparison: Comparison, folder: Path) -> Path:
    """Writes ``results.json`` into ``folder``, which is made if need be, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = with_digest({"format_version": FORMAT_VERSION, **to_mapping(comparison)})
    atomic_write(folder / FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return folder / FILE


def load_comparison(path: Path) -> Comparison:
    """Reads what :func:`save_comparison` wrote; ``path`` is the file or the folder around it.

    Raises:
        InputError: a missing file, one that is no result, that was changed since, or of another format version.
    """
    path = path / FILE if path.is_dir() else path
    try:
        stored = read_digested(path)
    except InputError as error:
        raise InputError(f"result {path}: {error}; give a file that `{as_called('eval')}` wrote") from None
    version = stored.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise InputError(
            f"result {path}: format version {version}, but this version of moco-cxr reads {FORMAT_VERSION}; "
            "repeat the evaluation"
        )
    try:
        comparison = from_written(Comparison, stored)
        _check(comparison)
    except InputError as error:
        raise InputError(f"result {path}: damaged ({error}); repeat the evaluation") from None
    return comparison


def find_results(path: Path) -> list[Path]:
    """The results at a place: a file, the one in a folder, or all in ``eval`` of a run folder.

    Raises:
        InputError: a run that was not evaluated.
    """
    found = [] if not path.is_dir() or (path / FILE).exists() else sorted(path.glob(f"eval/*/{FILE}"))
    if not found and (path / "config.yaml").exists():
        command = as_called(f"eval linear --run {path} --data DATASET --label LABEL")
        raise InputError(f"run {path}: not evaluated yet; {command}")
    return found or [path]


def _check(comparison: Comparison) -> None:
    """What tables and pages rely on, and no single field can tell."""
    from_written(Protocol, comparison.protocol)
    for views in comparison.views.values():
        from_written(ViewSpec, views)
    if not comparison.rows:
        raise InputError("holds no rows")
    if comparison.baseline not in comparison.starts:
        raise InputError(f"baseline {comparison.baseline} is no start")
    if not comparison.labels or not {*comparison.labels} <= comparison.test.keys():
        raise InputError("a label without test counts")
    if not all(start.hashes for start in comparison.starts.values()):
        raise InputError("a start without encoders")
    rows = {(row.readout, row.fraction, row.label, row.start) for row in comparison.rows}
    for row in comparison.rows:
        _check_row(row, comparison)
        if row.difference and (row.readout, row.fraction, row.label, row.difference.against) not in rows:
            raise InputError(f"a difference to {row.difference.against}, which has no row")
    of_groups: list[SubgroupRow | GapRow] = [*comparison.subgroups, *comparison.gaps]
    strange = {each.readout for each in of_groups} - READOUTS.keys()
    if strange:
        raise InputError(f"readout {min(strange)} is none")
    pairs = {(each.label, each.start) for each in of_groups}
    for label, start in pairs | {(each.label, each.start) for each in comparison.inputs}:
        if start not in comparison.starts or label not in {*comparison.labels, MACRO, MICRO}:
            raise InputError(f"figures of {label} from {start}, which are no label and start of it")


def _check_row(row: Row, comparison: Comparison) -> None:
    if row.readout not in READOUTS:
        raise InputError(f"readout {row.readout} is none")
    if row.start not in comparison.starts or row.label not in {*comparison.labels, MACRO, MICRO}:
        raise InputError(f"a row of {row.label} from {row.start}, which are no label and start of it")
    counts = {len(draw.auroc) for draw in row.draws}
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"a row of {row.start} without an AUROC of each draw and encoder")
