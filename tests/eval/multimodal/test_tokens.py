"""Image tokens on disk: each image's computed once, whatever selection it is asked for in; a cache per encoder."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

import eval.multimodal.tokens
from eval.multimodal.tokens import TokenEncoder, stored_tokens
from eval.study.features import extract_features
from pipeline.views import ViewSpec
from shards.index import ShardIndex
from train.encoders.build import build_encoder

VIEWS = ViewSpec(size=64, mean=0.4, std=0.2)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return build_encoder("resnet18", seed=1)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call has computed."""
    counts: list[int] = []

    def counted(encoder, index, *given, **more):  # type: ignore[no-untyped-def]
        counts.append(len(index))
        return extract_features(encoder, index, *given, **more)

    monkeypatch.setattr(eval.multimodal.tokens, "extract_features", counted)
    return counts


def test_each_image_is_computed_once(packed: Path, encoder: nn.Module, tmp_path: Path, computed: list[int]) -> None:
    index = ShardIndex.open(packed)
    few, more = index.take([5, 3, 90]), index.take([90, 7, 3, 11, 7])
    first = stored_tokens(tmp_path, encoder, few, VIEWS, grid=2)
    second = stored_tokens(tmp_path, encoder, more, VIEWS, grid=2)
    again = stored_tokens(tmp_path, encoder, index.take([7, 5]), VIEWS, grid=2)
    assert computed == [3, 3], "7, which comes twice, and 11"
    assert first.shape == (3, 4, 512)
    expected = extract_features(TokenEncoder(encoder, 2), more.take([0, 1, 2, 3]), VIEWS)
    np.testing.assert_allclose(second[:4], expected, rtol=2e-3, atol=1e-3)
    assert np.array_equal(second[[0, 2]], first[[2, 1]])
    assert np.array_equal(second[1], second[4])
    assert np.array_equal(again, np.stack([second[1], first[0]]))
    assert stored_tokens(tmp_path, encoder, index.take([]), VIEWS, grid=2).shape == (0, 4, 512)


def test_half_precision_loses_nothing_that_counts(packed: Path, encoder: nn.Module, tmp_path: Path) -> None:
    index = ShardIndex.open(packed).take(range(8))
    stored = stored_tokens(tmp_path, encoder, index, VIEWS, grid=2)
    exact = extract_features(TokenEncoder(encoder, 2), index, VIEWS)
    assert stored.dtype == np.float16
    assert np.sqrt(np.mean((stored - exact) ** 2)) < 5e-4 * exact.std()


def test_what_half_precision_cannot_hold_stays_whole(
    packed: Path, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = ShardIndex.open(packed)
    small = stored_tokens(tmp_path, encoder, index.take([0]), VIEWS, grid=1)
    real = extract_features
    monkeypatch.setattr(eval.multimodal.tokens, "extract_features", lambda *given, **more: 1e6 * real(*given, **more))
    both = stored_tokens(tmp_path, encoder, index.take([0, 1]), VIEWS, grid=1)
    assert both.dtype == np.float32
    assert both.max() > 1e5
    assert np.array_equal(both[0], small[0])


def test_encoders_views_and_grids_do_not_mix(
    packed: Path, encoder: nn.Module, tmp_path: Path, computed: list[int]
) -> None:
    index = ShardIndex.open(packed).take([0])
    stored_tokens(tmp_path, encoder, index, VIEWS, grid=1)
    stored_tokens(tmp_path, encoder, index, VIEWS, grid=2)
    stored_tokens(tmp_path, build_encoder("resnet18", seed=2), index, VIEWS, grid=1)
    stored_tokens(tmp_path, encoder, index, ViewSpec(size=64, mean=0.5, std=0.2), grid=1)
    assert computed == [1, 1, 1, 1]
