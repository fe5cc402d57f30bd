"""The rows of datasets that settings select."""

from shards.assumed import of_view
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.repeated import refuse_repeated
from train.settings.config import PretrainConfig
from train.settings.faults import Rows


def select_rows(config: PretrainConfig) -> ShardIndex:
    """Opens the datasets and selects by split, view and fraction.

    Raises:
        InputError: a folder is missing or is no dataset, two hold the same images, or nothing is left.
    """
    selection = config.selection
    index = ShardIndex.open(*config.data)
    refuse_repeated(index, "--data")
    if selection.split != "all":
        try:
            index = index.where(split=selection.split)
        except InputError as error:
            raise InputError(f"selection.{error}") from None
        index.require_rows(f"selection.split {selection.split}")
    index = of_view(index, selection.view, what=f"selection.view {selection.view}")
    return index.fraction(selection.fraction, seed=config.run.seed) if selection.fraction < 1 else index


def rows_of(index: ShardIndex) -> Rows:
    """What settings must fit of selected rows."""
    return Rows(num=len(index), largest_side=int(index.sizes().min(axis=1).max()))
