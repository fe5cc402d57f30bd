import numpy as np
import pytest

from shards.errors import InputError
from shards.filter import filter_rows
from shards.index import ShardIndex


@pytest.fixture(scope="module")
def index(tiny_dataset):
    return ShardIndex.open(tiny_dataset)


@pytest.mark.parametrize(
    ("conditions", "columns"),
    [
        ([], {}),
        (["split=test"], {"split": "test"}),
        (["split=test,train", "blob=1"], {"blob": 1}),
        (["blob=1.0"], {"blob": 1}),
        (["view="], {"view": None}),
        (["width=72", "split=train"], {"split": "train"}),
    ],
)
def test_conditions_select_what_where_selects(index, conditions, columns):
    np.testing.assert_array_equal(filter_rows(index, conditions).rows, index.where(**columns).rows)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["train"], "--where train: must be COLUMN=VALUE"),
        (["spilt=train"], "no column 'spilt'; columns: key, dataset, split"),
        (["split=valid"], "no image has split 'valid'; it holds test, train"),
        (["split=train", "split=test"], "split is given twice"),
        (["blob=yes"], "'yes' is no value of a column of int8"),
        (["blob=0.5"], "'0.5' is no value of a column of int8"),
        (["blob="], "no image has blob blank; it holds 0, 1"),
    ],
)
def test_wrong_conditions(index, conditions, message):
    with pytest.raises(InputError, match=message):
        filter_rows(index, conditions)
