"""Draws go out as a file and come back; lists of other software too."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eval.grid.config import DrawsConfig, Settings
from eval.grid.draw_lists import run_draws
from eval.study.cohort import open_cohort
from shards.base.errors import InputError


def settings(packed: Path, **fields) -> Settings:
    return Settings(**{"data": (packed,), "label": ("sick",), "draws": 2, **fields})


def test_exported_draws_are_learnt_from(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "draws.parquet"
    run_draws("export", DrawsConfig(settings=settings(packed, seed=3), fraction=(0.2,), output=path))
    printed = capsys.readouterr().out
    assert printed.startswith("20 %, draw 0: ")
    assert f"written: {path}" in printed
    drawn = open_cohort(settings(packed, seed=3), fraction=(0.2,)).folds[0].draws
    read = open_cohort(settings(packed, seed=3, draw_file=path), fraction=(0.2,)).folds[0].draws
    assert [draw.hash for draw in read] == [draw.hash for draw in drawn]


def test_lists_are_imported_whatever_folder_is_in_front(packed: Path, tmp_path: Path) -> None:
    train = open_cohort(settings(packed), fraction=()).folds[0].parts.train
    paths = train.column("source_path")[:40]
    lines = [f"release/of/2019/{path},0.3,0" for path in paths]
    (tmp_path / "list.csv").write_text("\n".join(["Path,fraction,draw", *lines]))
    output = tmp_path / "draws.parquet"
    run_draws("import", DrawsConfig(settings=settings(packed), source=(tmp_path / "list.csv",), output=output))
    table = pq.read_table(output)
    assert sorted(table["key"].to_pylist()) == sorted(train.column("key")[:40])
    assert set(table["fraction"].to_pylist()) == {0.3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("Path,draw\na,0\n", "has no one column fraction; "),
        ("image,fraction,draw\na,1,0\n", "has no one column path"),
        ("key,fraction,draw\nnowhere,1,0\n", "1 images are not in the training set, such as nowhere"),
    ],
)
def test_bad_lists_are_refused(content: str | None, message: str, packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        run_draws("import", DrawsConfig(settings=settings(packed), source=(path,), output=tmp_path / "d.parquet"))
    assert not (tmp_path / "d.parquet").exists()


def test_source_goes_with_import(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--source: no list given"):
        run_draws("import", DrawsConfig(settings=settings(packed), output=tmp_path / "d"))
    with pytest.raises(InputError, match="--source: goes with import"):
        run_draws("export", DrawsConfig(settings=settings(packed), source=(tmp_path,), output=tmp_path / "d"))
