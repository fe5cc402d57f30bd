import pytest

from benchmarks.index import measure_index, write_synthetic_index
from benchmarks.settings import CHEXPERT_PATIENTS, CHEXPERT_ROWS
from shards.index import ShardIndex


def test_a_small_synthetic_index(tmp_path):
    folder = write_synthetic_index(tmp_path / "small", num_rows=3000)
    index = ShardIndex.open(folder)
    table = index.table
    assert len(index) == 3000
    assert len(set(table["patient_id"].to_pylist())) == round(CHEXPERT_PATIENTS * 3000 / CHEXPERT_ROWS)
    assert table["offset"].to_pylist()[:1] == table["offset"].to_pylist()[1024:1025] == [512]
    measured = measure_index(folder)
    assert measured.num_rows == 3000
    assert 200 < measured.num_drawn < 400
    assert measured.open_seconds > 0


@pytest.mark.slow
def test_the_index_at_chexperts_size(tmp_path):
    """The goals are 0.5 s, 0.5 s and 400 MB; times are given room for a loaded machine, memory is not."""
    folder = write_synthetic_index(tmp_path / "chexpert")
    measured = [measure_index(folder) for _ in range(3)]
    assert min(one.open_seconds for one in measured) < 1.0
    assert min(one.fraction_seconds for one in measured) < 1.0
    assert max(one.peak_megabytes for one in measured) < 400
    assert measured[0].num_rows == CHEXPERT_ROWS
