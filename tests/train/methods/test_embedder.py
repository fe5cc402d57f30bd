from typing import Any

import pytest
import torch
from torch import nn

from train.methods.embedder import Embedder, build_embedder, mlp
from train.ranks.world import World
from train.settings.config import EncoderConfig, NormConfig, PretrainConfig

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def embed(
    *, strategy: Any = "split", channels_last: bool = True, keep_statistics: bool = False, **heads: Any
) -> Embedder:
    config = PretrainConfig(
        encoder=EncoderConfig(name="resnet18", channels_last=channels_last),
        norm=NormConfig(strategy=strategy, num_groups=2, keep_statistics=keep_statistics),
    )
    return build_embedder(config, WORLD, **({"projector": [24, 16], "norm": False, "last_norm": False} | heads))


def test_embeddings_are_normalised_and_features_are_the_encoders() -> None:
    embedder = embed().eval()
    views = torch.randn(4, 1, 32, 32)
    out = embedder(views)
    assert out.embedding.shape == (4, 16)
    torch.testing.assert_close(out.embedding.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(out.embedding, torch.nn.functional.normalize(out.raw, dim=1))
    torch.testing.assert_close(out.features, embedder.encoder(views), rtol=1e-4, atol=1e-4)
    assert out.prediction is None


def test_predictions_are_normalised_and_made_of_the_raw_embedding() -> None:
    embedder = embed(predictor=[8, 16]).eval()
    out = embedder(torch.randn(4, 1, 32, 32))
    assert embedder.predictor is not None
    assert out.prediction is not None
    torch.testing.assert_close(out.prediction.norm(dim=1), torch.ones(4))
    expected = torch.nn.functional.normalize(embedder.predictor(out.raw), dim=1)
    torch.testing.assert_close(out.prediction, expected)


@pytest.mark.parametrize("with_norm", [False, True])
def test_projector_norm_takes_away_what_all_embeddings_share(with_norm: bool) -> None:
    embedder = embed(norm=with_norm, last_norm=with_norm)
    shared = embedder(torch.randn(32, 1, 32, 32)).embedding.mean(dim=0).norm()
    assert (shared < 0.1) if with_norm else (shared > 0.5)


def test_a_width_of_0_is_that_of_the_features() -> None:
    assert [tuple(p.shape) for p in embed(projector=[0, 16]).projector.parameters() if p.ndim == 2] == [
        (512, 512),
        (16, 512),
    ]


def test_statistics_are_kept_in_the_encoder_alone() -> None:
    embedder = embed(keep_statistics=True, norm=True)
    before = {name: value.clone() for name, value in embedder.encoder.named_buffers()}
    embedder.train()(torch.randn(4, 1, 32, 32)).embedding.sum().backward()
    assert before
    assert all(torch.equal(value, before[name]) for name, value in embedder.encoder.named_buffers())
    assert all(parameter.grad is not None for parameter in embedder.encoder.parameters())
    assert {int(value) for value in embedder.projector.buffers() if value.ndim == 0} == {1}, "batches seen"


@pytest.mark.parametrize("strategy", ["split", "group", "plain"])
def test_the_norm_strategy_holds_in_encoder_and_heads(strategy: str) -> None:
    embedder = embed(strategy=strategy, norm=True, last_norm=True, predictor=[8, 16])
    kinds = {
        part: {type(m).__name__ for m in getattr(embedder, part).modules() if "Norm" in type(m).__name__}
        for part in ("encoder", "projector", "predictor")
    }
    expected = {"split": "SplitBatchNorm", "group": "GroupNorm", "plain": "BatchNorm"}[strategy]
    assert all(len(names) == 1 and next(iter(names)).startswith(expected) for names in kinds.values()), kinds


def test_the_same_seed_gives_the_same_start_and_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    one, same = embed(predictor=[8, 16]), embed(predictor=[8, 16])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))


def test_memory_format_does_not_change_the_embeddings() -> None:
    views = torch.randn(4, 1, 96, 96)
    plain, last = (embed(channels_last=flag).eval()(views).embedding for flag in (False, True))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-4)


LINEAR, NORM, RELU = nn.Linear, nn.BatchNorm1d, nn.ReLU


@pytest.mark.parametrize(
    ("norm", "last_norm", "expected"),
    [
        (False, False, [LINEAR, RELU, LINEAR, RELU, LINEAR]),
        (True, False, [LINEAR, NORM, RELU, LINEAR, NORM, RELU, LINEAR]),
        (True, True, [LINEAR, NORM, RELU, LINEAR, NORM, RELU, LINEAR, NORM]),
    ],
)
def test_layers_and_widths(norm: bool, last_norm: bool, expected: list[type]) -> None:
    head = mlp([3, 5, 7, 4], norm=norm, last_norm=last_norm)
    assert [type(layer) for layer in head] == expected
    assert [(m.in_features, m.out_features) for m in head if isinstance(m, LINEAR)] == [(3, 5), (5, 7), (7, 4)]
    assert head(torch.randn(6, 3)).shape == (6, 4)


def test_a_bias_is_where_no_batch_norm_follows() -> None:
    head = mlp([3, 5, 4], norm=True, last_norm=False)
    assert [m.bias is not None for m in head if isinstance(m, LINEAR)] == [False, True]


def test_the_last_batch_norm_has_no_scale_and_shift() -> None:
    head = mlp([3, 5, 4], norm=True, last_norm=True)
    assert [m.affine for m in head if isinstance(m, NORM)] == [True, False]
    embeddings = head(torch.randn(64, 3))
    torch.testing.assert_close(embeddings.mean(dim=0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(embeddings.var(dim=0, correction=0), torch.ones(4), atol=1e-2, rtol=0)
