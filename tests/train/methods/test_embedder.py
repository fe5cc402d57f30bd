from dataclasses import replace

import pytest
import torch

from train.batchnorm import split_batchnorm
from train.encoders import build_encoder
from train.methods.embedder import Embedder
from train.sections import MethodConfig

CONFIG = MethodConfig(embedding=16, projector_hidden=24)


def embed(config: MethodConfig, *, channels_last: bool = True) -> Embedder:
    return Embedder(build_encoder("resnet18", seed=0), config, seed=0, channels_last=channels_last)


def test_embeddings_are_normalised_and_features_are_the_encoders() -> None:
    embedder = embed(CONFIG).eval()
    views = torch.randn(4, 1, 32, 32)
    embeddings, features = embedder(views)
    assert embeddings.shape == (4, 16)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(features, embedder.encoder(views), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("with_norm", [False, True])
def test_projector_norm_takes_away_what_all_embeddings_share(with_norm: bool) -> None:
    embedder = split_batchnorm(embed(replace(CONFIG, projector_norm=with_norm)), 2)
    embeddings, _ = embedder(torch.randn(32, 1, 32, 32))
    shared = embeddings.mean(dim=0).norm()
    assert (shared < 0.1) if with_norm else (shared > 0.5)


def test_memory_format_does_not_change_the_embeddings() -> None:
    views = torch.randn(4, 1, 32, 32)
    plain, last = (embed(CONFIG, channels_last=flag).eval()(views)[0] for flag in (False, True))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-4)
