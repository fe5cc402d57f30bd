"""The loader of the rows that a run is trained on."""

from pipeline.loader import Loader, build_loader
from shards.index import ShardIndex
from train.ranks.world import World
from train.settings.config import PretrainConfig


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
