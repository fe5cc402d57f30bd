"""What all models of others are turned into, and how they are opened.

Each brings its own input: how many channels of which size, and how gray levels are scaled, read from its own
configuration. Gray is repeated in all channels. Never is code in a file run.

Legend: B images, C channels, H W pixels, F features.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from eval.foreign.kinds import kind_of, title_of
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from train.encoders.seen import Seen

Pool = Callable[[Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """``encoder`` takes views (B, 1, H, W), normalised as ``views`` says, to (B, ``num_features``), in evaluation mode.
    ``name`` is what results call its architecture, ``about`` says in words what goes in and what is taken of it.
    ``seen`` is what an encoder of ours was trained on; None: nothing is known."""

    encoder: nn.Module
    views: ViewSpec
    name: str
    num_features: int
    about: str
    seen: Seen | None = None


class Open(Protocol):
    """Opens the model that a source names behind its word; errors begin with what is wrong, without the source."""

    def __call__(self, name: str, /) -> ForeignModel: ...


def open_foreign(source: str) -> ForeignModel:
    """Opens the model of ``timm:``, ``hf:`` or ``xrv:``.

    Raises:
        InputError: its package is not installed, there is no such model, it could not be downloaded, or it is no
            encoder of images.
    """
    kind = kind_of(source)
    assert kind is not None, "a word of eval.foreign.kinds"
    title_of(source)  # refuses an empty name
    opened: Open = importlib.import_module(f"eval.foreign.{kind.module}").open_model
    try:
        model = opened(source.partition(":")[2])
    except InputError as error:
        raise InputError(f"start {source}: {error}") from None
    _try(model, source)
    return model


def _try(model: ForeignModel, source: str) -> None:
    side = model.views.size
    try:
        with torch.inference_mode():
            features = model.encoder(torch.zeros(1, 1, side, side))
    except Exception as error:  # models say in many kinds what they do not take
        raise InputError(
            f"start {source}: takes no image of {side} px ({str(error).splitlines()[0] if str(error) else error!r}); "
            "give an image encoder"
        ) from None
    if not isinstance(features, Tensor) or features.shape != (1, model.num_features):
        raise InputError(f"start {source}: gives no pooled features of an image; give an image encoder")


class OwnInput(nn.Module):
    """A model behind what it does to gray levels: views (B, 1, H, W) to its channels (B, C, H, W), to features (B, F).

    Args:
        scale, shift: of each of C channels: what the model is given is ``scale * x + shift`` with x in 0..1.
        views: how the images that come in are normalised.
        pool: from the model's output to features.
    """

    def __init__(
        self, model: nn.Module, scale: Tensor, shift: Tensor, views: ViewSpec, *, num_features: int, pool: Pool
    ) -> None:
        super().__init__()
        self.model, self.pool, self.num_features = model, pool, num_features
        named = getattr(model, "feature_info", ())
        self.feature_info = [dict(each) | {"module": f"model.{each['module']}"} for each in named]
        self.register_buffer("scale", (scale * views.std).reshape(1, -1, 1, 1))
        self.register_buffer("shift", (scale * views.mean + shift).reshape(1, -1, 1, 1))

    scale: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(self.model(images * self.scale + self.shift))


def with_own_input(
    model: nn.Module,
    *,
    name: str,
    size: int,
    scale: Sequence[float],
    shift: Sequence[float],
    num_features: int,
    pool: Pool,
    pooling: str,
) -> ForeignModel:
    """The model behind its own input, in evaluation mode.

    Args:
        scale, shift: see :class:`OwnInput`.
        pooling: what ``pool`` takes, in words.
    """
    scales, shifts = torch.tensor(scale, dtype=torch.float32), torch.tensor(shift, dtype=torch.float32)
    # Views are normalised as the mean channel is, so that what augments them finds levels as it knows them.
    std = float((1 / scales.mean()).clamp(1e-6, 1.0))
    views = ViewSpec(size=size, mean=float((-shifts.mean() / scales.mean()).clamp(0.0, 1.0)), std=std)
    encoder = OwnInput(model.eval(), scales, shifts, views, num_features=num_features, pool=pool).eval()
    means, deviations = -shifts / scales, 1 / scales
    about = (
        f"gray in {len(scale)} channel{'s' if len(scale) > 1 else ''} of {size} px, mean {_listed(means)} and standard "
        f"deviation {_listed(deviations)} of levels in 0..1; {num_features} features: {pooling}"
    )
    return ForeignModel(encoder=encoder, views=views, name=name, num_features=num_features, about=about)


def _listed(values: Tensor) -> str:
    rounded = [f"{value:.3g}" for value in values.tolist()]
    return rounded[0] if len(set(rounded)) == 1 else ", ".join(rounded)


def as_is(output: Tensor) -> Tensor:
    """The features of a model that gives them."""
    return output


def of_field(field: str) -> Pool:
    """The features of a model whose output has them in a field, (B, F) or (B, F, 1, 1)."""
    return partial(_field, field)


def _field(field: str, output: Any) -> Tensor:
    values: Tensor = getattr(output, field)
    return values.flatten(1)


def class_token(output: Any) -> Tensor:
    """The first token (B, F) of the last hidden state."""
    token: Tensor = output.last_hidden_state[:, 0]
    return token
