"""The rows that a run is trained on."""

from shards.index import ShardIndex
from train.config import PretrainConfig


def select_rows(config: PretrainConfig) -> ShardIndex:
    """Opens the datasets and selects by split, view and fraction.

    Raises:
        InputError: a folder is missing or is no dataset, or nothing is left.
    """
    selection = config.selection
    index = ShardIndex.open(*config.data)
    if selection.split != "all":
        index = index.where(split=selection.split)
        index.require_rows(f"selection.split {selection.split}")
    if selection.view != "all":
        index = index.where(view=selection.view)
        index.require_rows(f"selection.view {selection.view}")
    return index.fraction(selection.fraction, seed=config.run.seed) if selection.fraction < 1 else index
