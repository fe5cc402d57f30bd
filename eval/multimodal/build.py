"""The model of a multimodal training with its batches: on image tokens that are there already, or on images.

Legend: M training examples, N image tokens, F features.
"""

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from eval.multimodal.config import MultimodalConfig
from eval.multimodal.feed import Texts, TokenFeed, TokenScorer
from eval.multimodal.model import MultimodalModel
from eval.multimodal.tokens import ImageTokens, TokenEncoder, stored_tokens
from eval.training.engine import resolve_norm, train_mode
from eval.training.feed import Feed, ImageFeed
from eval.training.scores import Floats, Scorer
from eval.training.task import FinetuneTask, Rows, training_views
from train.encoders.saved import LoadedEncoder
from train.engine.precision import Precision
from train.ranks.world import World

_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Room:
    """What both ways of taking images are built in; ``stack`` closes what has to be closed."""

    task: FinetuneTask
    config: MultimodalConfig
    texts: dict[str, Texts]
    batch_size: int
    precision: Precision
    world: World
    stack: ExitStack


@dataclass(frozen=True, kw_only=True)
class Built:
    """As :class:`eval.training.loop.Training` takes them."""

    model: MultimodalModel
    feed: Feed
    valid: Callable[[nn.Module, int], Floats]
    test: Callable[[nn.Module, int], Floats]
    to_train_mode: Callable[[nn.Module], object]


def with_tokens(room: Room, image: dict[str, ImageTokens] | None, text_model: nn.Module) -> Built:
    """On image tokens that are there, by part, or on none."""
    config, world = room.config, room.world
    model = MultimodalModel(
        text_model,
        num_labels=len(room.task.labels),
        num_features=0 if image is None else image["train"].shape[2],
        num_image_tokens=config.image_tokens,
        seed=config.seed,
    )
    if image is not None:
        model.standardise(torch.from_numpy(image["train"]))
    of = {part: None if image is None else image[part] for part in _PARTS}
    valid, test = (
        TokenScorer(room.texts[part], of[part], precision=room.precision, world=world) for part in ("valid", "test")
    )
    return Built(
        model=model.to(world.device),
        feed=TokenFeed(room.texts["train"], of["train"], batch_size=room.batch_size, seed=config.seed, world=world),
        valid=valid,
        test=test,
        to_train_mode=nn.Module.train,
    )


def with_encoder(room: Room, start: LoadedEncoder, text_model: nn.Module) -> Built:
    """On images, whose encoder is trained with the rest."""
    task, config, world = room.task, room.config, room.world
    encoder = TokenEncoder(deepcopy(start.encoder), config.grid)
    model = MultimodalModel(
        text_model,
        num_labels=len(task.labels),
        num_features=encoder.num_features,
        num_image_tokens=config.image_tokens,
        encoder=encoder,
        seed=config.seed,
    )
    feed = ImageFeed(
        task.select(task.train_rows),
        training_views(config, start.views),
        batch_size=room.batch_size,
        engine=config.engine,
        seed=config.seed,
        world=world,
        beside=room.texts["train"],
    )
    room.stack.callback(feed.close)
    scorers = []
    for part, rows, repeats in (("valid", task.valid_rows, True), ("test", task.test_rows, config.average > 1)):
        scorer = Scorer(
            task.select(rows),
            start.views,
            engine=config.engine,
            repeats=repeats,
            precision=room.precision,
            world=world,
            beside=room.texts[part],
            field="multimodal",
        )
        room.stack.callback(scorer.close)
        scorers.append(scorer)
    return Built(
        model=model.to(world.device),
        feed=feed,
        valid=scorers[0],
        test=scorers[1],
        to_train_mode=partial(train_mode, norm=resolve_norm(start.encoder, config.norm)),
    )


def image_tokens(
    start: LoadedEncoder | None, task: FinetuneTask, config: MultimodalConfig, features: Path, device: torch.device
) -> dict[str, ImageTokens] | None:
    """Tokens of each part's images, computed where they are not in the folder ``features``; None without encoder."""
    if start is None:
        return None
    return {
        part: stored_tokens(
            features,
            start.encoder,
            task.select(rows),
            start.views,
            grid=config.grid,
            device=device,
            engine=config.engine,
            description=f"image tokens, {part}",
        )
        for part, rows in rows_by_part(task).items()
    }


def rows_by_part(task: FinetuneTask) -> dict[str, Rows]:
    """Rows of ``train``, ``valid`` and ``test``."""
    return dict(zip(_PARTS, (task.train_rows, task.valid_rows, task.test_rows), strict=True))
