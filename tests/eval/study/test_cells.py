"""A cell's file holds all of the cell, and is read again only by whoever asks for the same computation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.study.cells import Cell, CellKey, cell_fingerprint, cell_path, load_cell, save_cell, stored_cells
from eval.study.protocol import Protocol
from shards.base.errors import InputError

KEY = CellKey(readout="linear", start="pretrained", fraction=0.01, draw=2)
PROTOCOL = Protocol(
    name="clean",
    by="patient",
    uncertain="ignore",
    view="all",
    train_split="train",
    valid_split=None,
    test_split="test",
    seed=0,
)


def make_cell(key: CellKey = KEY, **changes) -> Cell:
    random = np.random.default_rng(0)
    made = Cell(
        key=key,
        fingerprint="f" * 16,
        labels=("Edema", "Pleural Effusion"),
        test_rows=np.arange(7),
        scores=random.normal(size=(7, 2)).astype(np.float32),
        valid_rows=np.arange(9, 12),
        valid_scores=random.normal(size=(3, 2)).astype(np.float32),
        num_patients=4,
        num_images=[5, 6],
        num_positives=[2, 3],
        is_extended=True,
        details={"strength": 0.01, "epochs": [1, 2]},
        seconds=1.5,
    )
    return dataclasses.replace(made, **changes)


def test_a_cell_is_read_as_it_was_written(tmp_path: Path) -> None:
    cell = make_cell()
    assert save_cell(tmp_path, cell) == tmp_path / "linear" / "pretrained" / "0.01-draw2.npz"
    read = load_cell(tmp_path, KEY, fingerprint="f" * 16)
    assert read is not None
    for field in dataclasses.fields(Cell):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(cell, field.name))
    assert read.scores.dtype == np.float32
    assert [path.name for path in tmp_path.rglob("*.*")] == ["0.01-draw2.npz"]


def test_another_fingerprint_no_file_and_a_damaged_file_are_no_cell(tmp_path: Path) -> None:
    assert load_cell(tmp_path, KEY) is None
    path = save_cell(tmp_path, make_cell())
    assert load_cell(tmp_path, KEY) is not None
    assert load_cell(tmp_path, KEY, fingerprint="0" * 16) is None
    whole = path.read_bytes()
    for part in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(part)
        assert load_cell(tmp_path, KEY) is None


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    scores = make_cell().scores.copy()
    scores[3, 1] = np.nan
    with pytest.raises(InputError, match="scores of 1 images are not finite"):
        save_cell(tmp_path, make_cell(scores=scores))
    assert not cell_path(tmp_path, KEY).exists()


def test_names_and_keys_belong_together(tmp_path: Path) -> None:
    keys = [
        CellKey(readout=readout, start=start, fraction=fraction, draw=draw)
        for readout, start in (("few-shot", "random-0"), ("linear", "run.v2"))
        for fraction, draw in ((1 / 128, 0), (1 / 3, 11), (1.0, 0))
    ]
    assert len({key.name for key in keys}) == len(keys)
    for key in keys:
        assert CellKey.parse(key.name).name == key.name
        save_cell(tmp_path, make_cell(key))
    assert [key.name for key in stored_cells(tmp_path)] == [key.name for key in sorted(keys)]
    for name in ("linear/pretrained", "linear/pretrained/x-draw1", "a/b/c/0.1-draw1"):
        with pytest.raises(InputError, match="names no cell"):
            CellKey.parse(name)


@pytest.mark.parametrize("start", ["", "../other", "a b", ".hidden"])
def test_a_start_that_is_not_safe_in_file_names_is_refused(start: str) -> None:
    with pytest.raises(InputError, match="names a file"):
        CellKey(readout="linear", start=start, fraction=0.1, draw=0)


def test_the_fingerprint_changes_with_all_that_scores_depend_on() -> None:
    common = {
        "encoder_hash": "a",
        "protocol": PROTOCOL,
        "datasets": ("d",),
        "labels": ("Edema",),
        "settings": {"k": 20},
    }
    changes = {
        "encoder_hash": "b",
        "protocol": dataclasses.replace(PROTOCOL, seed=1),
        "datasets": ("d", "e"),
        "labels": ("Effusion",),
        "settings": {"k": 21},
    }
    prints = [cell_fingerprint(**common)] + [
        cell_fingerprint(**common | {name: value}) for name, value in changes.items()
    ]
    assert len(set(prints)) == len(prints)
    assert cell_fingerprint(**common) == prints[0]
