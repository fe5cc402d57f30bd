"""Ten seconds of random mutations for each kind of file that is read back or comes from outside, pictures aside
(`tests/shards/images/fuzz.py`): whoever reads one takes it or says so in a line, and never more."""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from shards.base.atomic import begin_folder
from shards.index import ShardIndex
from shards.sources.files import open_files
from shards.sources.lists import read_list
from shards.sources.words.indication import decode_report, find_indication
from tests.damage import Reader, outcome
from tests.eval.conftest import comparison  # noqa: F401
from tests.test_damage import READERS, a_dataset, verified
from train.checkpoints.snapshot import read_mark, read_tensors, seal, write_tensors
from train.encoders.torch_file import read_torch_file

SECONDS = 10.0
LIST = 'Path,Sex,Age,"Frontal/Lateral",AP/PA,Edema\ntrain/p1/s1/v1.jpg,Female,68,Frontal,AP,1.0\n"a ""b""",,,,,-1\n'
REPORT = "       FINAL REPORT\n EXAMINATION:  CHEST\n\n INDICATION:  ___M with cough\n\n FINDINGS: none\n"


def a_list(folder: Path, *_: Any) -> Reader:
    path = folder / "list.csv"
    path.write_text(LIST * 20)
    return Reader(path, lambda: [row.problem for row in read_list(open_files(folder), path.name, needed=("Path",))])


def a_report(folder: Path, *_: Any) -> Reader:
    path = folder / "s1.txt"
    path.write_text(REPORT)
    return Reader(path, lambda: find_indication(decode_report(path.read_bytes())))


def a_shard(folder: Path, tiny: Path, _: Any) -> Reader:
    data = a_dataset(tiny, folder)

    def read() -> None:
        index = ShardIndex.open(data)
        for row in index.rows[:8]:
            index.read(int(row))

    return Reader(next(data.glob("*.tar")), read)


def weights(folder: Path, *_: Any) -> Reader:
    path = folder / "start.pth"
    torch.save({"arch": "a", "state_dict": {"a.weight": torch.zeros(3)}}, path, _use_new_zipfile_serialization=False)
    return Reader(path, lambda: read_torch_file(path))


def checkpoint_tensors(folder: Path, *_: Any) -> Reader:
    step = folder / "step-00000001"
    part = begin_folder(step)
    write_tensors(part / "state.pt", {"a": torch.zeros(8)})
    seal(step, {"step": 1})
    mark = read_mark(step)
    return Reader(step / "state.pt", lambda: read_tensors(step, "state.pt", mark))


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at:at] = chance.choice((b"\0", b'"', b"{", b"[", b"\xff", b"\n", b",", b"9" * 30, b"nan", b"-"))
            case 2:
                del data[at : at + chance.choice((1, 4, 100))]
            case 3:
                data[at : at + 8] = chance.randbytes(8)
            case 4:
                other = chance.randrange(len(data) + 1)
                data[at:at] = data[other : other + chance.choice((4, 40))]
            case 5:
                del data[at:]
            case 6:
                data[at : at + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
                )
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [*(make for make in READERS if make is not verified), a_list, a_report, a_shard, weights, checkpoint_tensors],
)
def test_ten_seconds_of_mutations(
    make: Callable[..., Reader],
    tmp_path: Path,
    tiny_dataset: Path,
    comparison: Any,  # noqa: F811
) -> None:
    reader = make(tmp_path, tiny_dataset, comparison)
    content, chance = reader.path.read_bytes(), random.Random(make.__name__)
    assert outcome(reader) is None
    end, num_tried, slowest = time.monotonic() + SECONDS, 0, 0.0
    while time.monotonic() < end:
        changed = mutated(content, chance)
        reader.path.write_bytes(changed)
        begun = time.monotonic()
        try:
            outcome(reader)
        except Exception:
            shutil.copy(reader.path, tmp_path / "guilty")
            raise
        num_tried, slowest = num_tried + 1, max(slowest, time.monotonic() - begun)
    assert num_tried > 20
    assert slowest < 5.0
