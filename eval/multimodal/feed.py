"""Batches of texts and image tokens, cut to their longest text; what an example is to do without is masked here.

Legend: M examples of a selection, B a batch and process, T text tokens, N image tokens, F features.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eval.multimodal.text import Tokens
from eval.multimodal.tokens import ImageTokens
from eval.readouts.registry import Inputs
from eval.training.feed import Examples
from eval.training.scores import scores_of
from eval.training.task import Floats
from pipeline.order import Order
from pipeline.upload import upload
from shards.base.randomness import generator
from train.engine.precision import Precision
from train.ranks.world import World

_SCORED = 256  # examples a batch, where nothing is learnt


class Texts:
    """The inputs beside the image: ids, lengths, and which examples keep their image.

    Args:
        inputs: ``image`` masks all texts.
        dropout: share of the examples that lose one of both inputs, drawn anew each epoch; those without a text keep
            their image.
    """

    def __init__(
        self, tokens: Tokens, *, inputs: Inputs, device: torch.device, dropout: float = 0.0, seed: int = 0
    ) -> None:
        self._ids = torch.from_numpy(tokens.ids)
        lengths = np.ones_like(tokens.lengths) if inputs == "image" else tokens.lengths
        self.lengths = torch.from_numpy(lengths)
        self._inputs, self._device, self._dropout, self._seed = inputs, device, dropout, seed
        self._epoch = -1

    def __call__(self, positions: Tensor, epoch: int = 0) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids (B, T), lengths (B,) and has_image (B,), None where nobody or everybody has one, at positions (B,)."""
        lengths, has_image = self.lengths[positions], None
        if self._dropout and self._inputs == "both":
            loses_image, loses_text = self._lost(epoch)
            has_image = ~loses_image[positions]
            lengths = torch.where(loses_text[positions], 1, lengths)
        ids = self._ids[positions, : int(lengths.max())]
        return self._on_device(ids.long()), self._on_device(lengths), self._on_device(has_image)

    def _lost(self, epoch: int) -> tuple[Tensor, Tensor]:
        if epoch != self._epoch:
            drawn = torch.from_numpy(generator("modality dropout", self._seed, epoch).random(len(self.lengths)))
            self._epoch = epoch
            self._loses_image = (drawn < self._dropout / 2) & (self.lengths > 1)
            self._loses_text = (drawn >= self._dropout / 2) & (drawn < self._dropout)
        return self._loses_image, self._loses_text

    def _on_device(self, tensor: Any) -> Any:
        return None if tensor is None else upload(tensor, self._device)


class TokenFeed:
    """Training batches of M examples whose image tokens are there already.

    Args:
        image: (M, N, F), or None where no image is given.
        batch_size: examples a batch on each rank.
    """

    def __init__(self, texts: Texts, image: ImageTokens | None, *, batch_size: int, seed: int, world: World) -> None:
        self._texts, self._image = texts, None if image is None else torch.from_numpy(image)
        self._device = world.device
        self._order = Order(
            len(texts.lengths),
            seed=seed,
            batch_size=batch_size,
            rank=world.rank,
            world_size=world.size,
            shuffle="global",
            last="pad",
        )
        self._epoch, self._position = 0, 0

    def __iter__(self) -> Iterator[Examples]:
        for picks in self._order.batches(self._epoch, self._position):
            self._position += self._order.global_batch_size
            yield _examples(self._texts, self._image, torch.from_numpy(picks.positions), self._epoch, self._device)
        self._epoch, self._position = self._epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._order.seed, "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._epoch, self._position = state["epoch"], state["position"]

    def close(self) -> None:
        """There is nothing to end."""


class TokenScorer:
    """Scores M examples again and again, those of like length together; the ranks share them."""

    def __init__(self, texts: Texts, image: ImageTokens | None, *, precision: Precision, world: World) -> None:
        self._texts, self._image = texts, None if image is None else torch.from_numpy(image)
        self._precision: Precision = precision
        self._world = world
        by_length = torch.argsort(texts.lengths, stable=True)
        self._batches = by_length.split(_SCORED)[world.rank :: world.size]

    def __call__(self, model: nn.Module, num_labels: int) -> Floats:
        """Logits (M, L) in the order of the selection; see :func:`eval.training.scores.scores_of`."""
        return scores_of(
            model,
            (_examples(self._texts, self._image, each, 0, self._world.device) for each in self._batches if len(each)),
            shape=(len(self._texts.lengths), num_labels),
            precision=self._precision,
            world=self._world,
            section="multimodal",
        )


def _examples(texts: Texts, image: Tensor | None, positions: Tensor, epoch: int, device: torch.device) -> Examples:
    ids, lengths, has_image = texts(positions, epoch)
    tokens = None if image is None else upload(image[positions], device)
    return Examples(positions, (tokens, ids, lengths, has_image))
