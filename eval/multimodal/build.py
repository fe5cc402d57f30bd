"""The model of a multimodal training with its batches: on image tokens that are there already, or on images."""

from collections.abc import Mapping
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from eval.multimodal.config import MultimodalConfig
from eval.multimodal.feed import Texts, TokenFeed, TokenScorer
from eval.multimodal.model import MultimodalModel, parameter_groups
from eval.multimodal.tokens import ImageTokens, TokenEncoder, stored_tokens
from eval.training.engine import resolve_norm, synced, train_mode
from eval.training.feed import Feed
from eval.training.images import open_images
from eval.training.loop import Training
from eval.training.scores import Scorer
from eval.training.task import TrainingTask, Work
from shards.index import ShardIndex
from train.encoders.saved import LoadedEncoder
from train.engine.precision import Precision
from train.ranks.world import World


def build_training(
    work: Work[MultimodalConfig],
    texts: Mapping[str, Texts],
    text_model: nn.Module,
    features: Path,
    *,
    precision: Precision,
    world: World,
    stack: ExitStack,
) -> Training:
    """The training of a model of ``texts``, by part, and of the images, if the work has an encoder for them.

    Args:
        features: folder of the image tokens, where the encoder is not trained with the rest.
        stack: closes what has been opened.
    """
    config, start, image, encoder = work.config, work.start, None, None
    norm: Literal["frozen", "trained"] = "trained"
    if start is not None and config.image_encoder == "trained":
        norm = resolve_norm(start.encoder, config.norm)
        encoder = TokenEncoder(synced(deepcopy(start.encoder), norm, world), config.grid)
    elif start is not None:
        image = _image_tokens(work, start, features, world.device)
    model = MultimodalModel(
        text_model,
        num_labels=len(work.task.labels),
        num_features=encoder.num_features if encoder else image["train"].shape[2] if image else 0,
        num_image_tokens=config.image_tokens,
        encoder=encoder,
        seed=config.seed,
    )
    feed: Feed
    valid: Scorer
    test: Scorer
    if start is not None and encoder is not None:
        feed, valid, test = open_images(work, precision=precision, world=world, stack=stack, beside=texts)
    else:
        if image is not None:
            model.standardise(torch.from_numpy(image["train"]))
        of = image or dict.fromkeys(texts)
        batch_size = work.batch_size(world)
        feed = TokenFeed(texts["train"], of["train"], batch_size=batch_size, seed=config.seed, world=world)
        valid, test = (
            TokenScorer(texts[part], of[part], precision=precision, world=world) for part in ("valid", "test")
        )
    return Training(
        model=model.to(world.device),
        groups=parameter_groups(model, config),
        feed=feed,
        valid=valid,
        test=test,
        to_train_mode=partial(train_mode, norm=norm),
        precision=precision,
    )


def _image_tokens(
    work: Work[MultimodalConfig], start: LoadedEncoder, features: Path, device: torch.device
) -> dict[str, ImageTokens]:
    """Tokens of each part's images, computed where they are not in the folder ``features``."""
    return {
        part: stored_tokens(
            features,
            start.encoder,
            images,
            start.views,
            grid=work.config.grid,
            device=device,
            engine=work.config.engine,
            description=f"image tokens, {part}",
        )
        for part, images in images_by_part(work.task).items()
    }


def images_by_part(task: TrainingTask) -> dict[str, ShardIndex]:
    """The images of ``train``, ``valid`` and ``test``."""
    rows = {"train": task.train_rows, "valid": task.valid_rows, "test": task.test_rows}
    return {part: task.select(each) for part, each in rows.items()}
