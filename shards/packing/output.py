"""The output folder of a build: new, unfinished or complete, and whether it is this build's."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from shards.base.atomic import SUFFIX as PART_SUFFIX
from shards.base.atomic import atomic_write
from shards.base.dataclass_io import from_written
from shards.base.errors import InputError
from shards.base.stored import read_json
from shards.format.manifest import MANIFEST, read_manifest
from shards.packing.asked import asked_of, differing
from shards.packing.plan import Plan
from shards.packing.progress import SUFFIX as PROGRESS_SUFFIX
from shards.packing.shard import WORK

State = Literal["new", "unfinished", "complete"]
_ANEW = "put it back as it was, or choose another folder, or remove this one to begin anew"


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What a build leaves at its start."""

    options: str
    source: str
    tools: dict[str, str]
    asked: dict[str, str] = field(default_factory=dict)  # by earlier versions: nothing


def check_output(output: Path, plan: Plan, tools: Mapping[str, str]) -> State:
    """How far this build is in ``output``; nothing is written.

    Raises:
        InputError: the folder holds something else, or a dataset of another input or of other options.
    """
    begun = output / WORK / "plan.json"
    if (output / MANIFEST).is_file():
        found = read_manifest(output)
        if found.get("options_fingerprint") != plan.options:
            told = f"was packed with {differing(asked_of(found), plan.asked)}"
            raise InputError(f"--output {output}: {told}; choose another folder or remove it")
        _refuse_other_source(output, found.get("source_fingerprint"), plan)
        return "complete"
    if os.path.lexists(begun):
        try:
            begun_by = from_written(_Begun, read_json(begun))
        except InputError as error:
            raise InputError(f"--output {output}: {WORK}/plan.json {error}; remove the folder to begin anew") from None
        if begun_by.options != plan.options:
            told = f"holds a build that was begun with {differing(begun_by.asked, plan.asked)}"
            raise InputError(f"--output {output}: {told}; go on with these, or choose another folder or remove it")
        _refuse_other_source(output, begun_by.source, plan)
        if begun_by.tools != dict(tools):
            versions = ", ".join(f"{name} {version}" for name, version in begun_by.tools.items())
            raise InputError(f"--output {output}: was begun with {versions}; go on with these, or remove it")
        return "unfinished"
    if output.exists() and (not output.is_dir() or any(path.name != WORK for path in output.iterdir())):
        raise InputError(f"--output {output}: exists and is not a dataset; choose a new or empty folder")
    return "new"


@contextlib.contextmanager
def begin(output: Path, plan: Plan, tools: Mapping[str, str]) -> Iterator[None]:
    """Makes the folder, or takes up an unfinished one, and keeps other builds out of it for a block of code.

    Raises:
        InputError: another process is building there.
    """
    work = output / WORK
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"--output {output}: another build is writing there; wait for it or end it") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems have no locks
                raise
        for path in [*work.glob(f"*{PART_SUFFIX}"), *work.glob(f"*{PROGRESS_SUFFIX}")]:
            path.unlink(missing_ok=True)
        begun = _Begun(options=plan.options, source=plan.source, tools=dict(tools), asked=dict(plan.asked))
        atomic_write(work / "plan.json", json.dumps(asdict(begun)), scratch=work)
        yield


def remove_work(output: Path) -> None:
    """Removes what an unfinished build keeps; a worker that is thought dead may still add to it meanwhile."""
    for _ in range(3):
        shutil.rmtree(output / WORK, ignore_errors=True)
        if not os.path.lexists(output / WORK):
            return


def _refuse_other_source(output: Path, source: object, plan: Plan) -> None:
    if source != plan.source:
        raise InputError(f"--output {output}: the source (its list, or a file's size) has changed since; {_ANEW}")
