from pathlib import Path

import pytest
import torch

from shards.base.atomic import part_of
from train.checkpoints.snapshot import BrokenSnapshot, num_bytes, read_mark, read_tensors, seal, write_tensors

CONTENT = {"weights": torch.arange(1000.0), "inner": {"step": 3}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "step-00000003"
    part_of(made).mkdir()
    write_tensors(part_of(made) / "state.pt", CONTENT)
    seal(made, {"step": 3})
    return made


def test_gives_back_what_it_was_given(folder: Path) -> None:
    mark = read_mark(folder)
    content = read_tensors(folder, "state.pt", mark)
    assert mark["step"] == 3
    assert torch.equal(content["weights"], CONTENT["weights"])
    assert content["inner"] == {"step": 3}
    assert not part_of(folder).exists()
    assert num_bytes(CONTENT) == 4000


def test_a_file_cut_off_or_gone_is_found_by_its_mark(folder: Path) -> None:
    path = folder / "state.pt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BrokenSnapshot, match="state.pt is not of"):
        read_mark(folder)
    path.unlink()
    with pytest.raises(BrokenSnapshot, match="state.pt: No such file"):
        read_mark(folder)


def test_one_byte_changed_is_found_by_its_checksum(folder: Path) -> None:
    path = folder / "state.pt"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(BrokenSnapshot, match="does not have its checksum"):
        read_tensors(folder, "state.pt", read_mark(folder))


def test_what_torch_cannot_load_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "step-00000004"
    part_of(folder).mkdir()
    (part_of(folder) / "state.pt").write_bytes(b"no tensors")
    seal(folder, {})
    with pytest.raises(BrokenSnapshot, match="state.pt: "):
        read_tensors(folder, "state.pt", read_mark(folder))


@pytest.mark.parametrize("mark", [None, "{", "[]", '{"files": {}}', '{"format": 2}'])
def test_a_mark_that_says_nothing_is_broken(folder: Path, mark: str | None) -> None:
    (folder / "complete.json").unlink() if mark is None else (folder / "complete.json").write_text(mark)
    with pytest.raises(BrokenSnapshot):
        read_mark(folder)
