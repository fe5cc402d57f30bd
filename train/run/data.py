"""The rows that a run is trained on, and their loader."""

from pipeline.loader import Loader, build_loader
from shards.assumed import of_view
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.repeated import refuse_repeated
from train.ranks.world import World
from train.settings.config import PretrainConfig


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


def training_loader(config: PretrainConfig, index: ShardIndex, world: World) -> Loader:
    """This rank's share of pairs of views of the selected rows, on its device.

    Raises:
        InputError: settings that do not fit the data.
    """
    settings, run = config.loader, config.run
    return build_loader(
        index,
        config.views,
        batch_size=run.batch_size,
        engine=settings.engine,
        device=world.device,
        seed=run.seed,
        rank=world.rank,
        world_size=world.size,
        shuffle=settings.shuffle,
        weights=settings.weights,
        positives=settings.positives,
        num_threads=settings.threads or None,
        on_damage=settings.on_damage,
        checksums=settings.checksums,
        resident_bytes=round(1e9 * settings.resident_gb) or None,
    )
