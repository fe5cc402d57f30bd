"""The images of a training: those it learns from, augmented, and those that are scored again and again.

Legend: B images a batch and process, K images of a selection, L labels.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eval.training.config import TrainingConfig
from eval.training.feed import Examples
from eval.training.scores import scores_of
from eval.training.task import Config, Floats, Work
from pipeline.loader import Batch, build_loader
from pipeline.options import EngineName
from pipeline.views import PRESETS, ViewSpec
from shards.index import ShardIndex
from train.engine.precision import Precision
from train.ranks.world import World

_PIXEL_BYTES = 2 * 10**9  # decoded validation images that are kept between their scorings: 20,000 at 320 px
_BATCH = 64

Beside = Callable[[Tensor, int], tuple[Any, ...]]
"""The inputs that go with the images at positions (B,) in an epoch."""


def open_images(
    work: Work[Config],
    *,
    precision: Precision,
    world: World,
    stack: ExitStack,
    beside: Mapping[str, Beside] | None = None,
) -> tuple["ImageFeed", "ImageScorer", "ImageScorer"]:
    """The work's training images, and the scorers of its validation and test images; ``stack`` closes them.

    Args:
        beside: further inputs of ``train``, ``valid`` and ``test``.
    """
    task, config, start = work.task, work.config, work.start
    assert start is not None, "images are for an encoder"
    beside = beside or {}
    feed = ImageFeed(
        task.select(task.train_rows),
        _training_views(config, start.views),
        batch_size=work.batch_size(world),
        engine=config.engine,
        seed=config.seed,
        world=world,
        beside=beside.get("train"),
    )
    stack.callback(feed.close)
    scorers = []
    for part, rows, repeats in (("valid", task.valid_rows, True), ("test", task.test_rows, config.average > 1)):
        scorer = ImageScorer(
            task.select(rows),
            start.views,
            engine=config.engine,
            repeats=repeats,
            precision=precision,
            world=world,
            section=config.section,
            beside=beside.get(part),
        )
        stack.callback(scorer.close)
        scorers.append(scorer)
    return feed, scorers[0], scorers[1]


class ImageFeed:
    """One view of each image of ``index``, in batches of equal size on all ranks.

    Args:
        beside: further inputs; default: none.
        is_training: shuffled, filled up to whole batches. Otherwise each image once, in ``order``.
    """

    def __init__(
        self,
        index: ShardIndex,
        views: ViewSpec,
        *,
        batch_size: int,
        engine: EngineName,
        world: World,
        seed: int = 0,
        is_training: bool = True,
        order: Literal["global", "none"] = "global",
        resident_bytes: int | None = None,
        beside: Beside | None = None,
    ) -> None:
        self.index, self._beside = index, beside
        self._loader = build_loader(
            index,
            views,
            batch_size=batch_size,
            num_views=1,
            engine=engine,
            device=world.device,
            seed=seed,
            rank=world.rank,
            world_size=world.size,
            shuffle="auto" if is_training else order,
            last="pad" if is_training else "short",
            resident_bytes=resident_bytes,
        )

    def __iter__(self) -> Iterator[Examples]:
        return map(self._examples, self._loader)

    def state_dict(self) -> dict[str, int]:
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._loader.load_state_dict(state)

    def close(self) -> None:
        self._loader.close()

    def _examples(self, batch: Batch) -> Examples:
        positions = torch.from_numpy(self.index.positions(batch.rows))
        beside = self._beside(positions, self._loader.epoch) if self._beside else ()
        return Examples(positions, (batch.views[0], *beside))


class ImageScorer:
    """Scores the same images again and again; the ranks share them.

    Args:
        repeats: decoded images are kept from one scoring to the next, if they are few enough.
        section: of the settings, which errors name.
        beside: further inputs; default: none.
    """

    def __init__(
        self,
        index: ShardIndex,
        views: ViewSpec,
        *,
        engine: EngineName,
        repeats: bool,
        precision: Precision,
        world: World,
        section: str,
        beside: Beside | None = None,
    ) -> None:
        self.index, self.precision, self.world, self.section = index, precision, world, section
        self._feed: ImageFeed | None = None
        if len(index):
            self._feed = ImageFeed(
                index,
                views.evaluation(),
                batch_size=_BATCH,
                engine=engine,
                world=world,
                is_training=False,
                order="global" if repeats else "none",
                resident_bytes=_PIXEL_BYTES,
                beside=beside,
            )

    def __call__(self, model: nn.Module, num_labels: int) -> Floats:
        """Logits (K, L) in the order of the index; see :func:`eval.training.scores.scores_of`."""
        if self._feed is not None:
            self._feed.load_state_dict({"seed": 0, "epoch": 0, "position": 0})  # the same batches each time
        return scores_of(
            model,
            self._feed or (),
            shape=(len(self.index), num_labels),
            precision=self.precision,
            world=self.world,
            section=self.section,
        )

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()


def _training_views(config: TrainingConfig, views: ViewSpec) -> ViewSpec:
    """The preset's augmentation in the size, normalisation and fill that the encoder knows."""
    return dataclasses.replace(
        PRESETS[config.augmentation], size=views.size, mean=views.mean, std=views.std, fill=views.fill
    )
