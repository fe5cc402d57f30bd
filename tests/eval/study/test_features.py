"""Features are those of each row, in order, in evaluation mode; the cache knows what they depend on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import eval.study.features
from eval.study.features import cached_features, encoder_hash, extract_features, images_fingerprint, views_hash
from pipeline.loader import build_loader
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.build import build_encoder

VIEWS = ViewSpec(size=32, rotation=10, flip=0.5, mean=0.4, std=0.2)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return build_encoder("resnet18", seed=1)


def test_features_are_those_of_each_row_in_the_order_of_the_index(packed: Path, encoder: nn.Module) -> None:
    index = ShardIndex.open(packed).where(split="test").take([40, 3, 17, 0, 9])
    features = extract_features(encoder, index, VIEWS, batch_size=2)
    assert features.dtype == np.float32
    assert features.shape == (5, 512)
    for position in range(len(index)):
        one = index.take([position])
        with build_loader(one, VIEWS.evaluation(), batch_size=1, num_views=1, shuffle="none", last="short") as loader:
            (batch,) = loader
        with torch.inference_mode():
            expected = encoder.eval()(batch.views[0])[0].numpy()
        np.testing.assert_allclose(features[position], expected, rtol=1e-4, atol=1e-5)


def test_features_ignore_and_leave_batch_statistics(packed: Path) -> None:
    index = ShardIndex.open(packed).take(range(16))
    encoder = build_encoder("resnet18", seed=1).train()
    before = encoder_hash(encoder)
    alone, together = (extract_features(encoder, index, VIEWS, batch_size=size) for size in (1, 16))
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    assert encoder_hash(encoder) == before


def test_cache_is_used_only_for_the_same_encoder_images_and_views(
    packed: Path, encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = ShardIndex.open(packed).take(range(6))
    first = cached_features(tmp_path, encoder, index, VIEWS)
    calls = []

    def extract(*arguments, **settings):
        calls.append(arguments)
        return np.zeros((len(arguments[1]), 512), dtype=np.float32)

    monkeypatch.setattr(eval.study.features, "extract_features", extract)
    np.testing.assert_array_equal(cached_features(tmp_path, encoder, index, VIEWS), first)
    np.testing.assert_array_equal(cached_features(tmp_path, encoder, index, VIEWS.evaluation()), first)
    assert not calls
    cached_features(tmp_path, build_encoder("resnet18", seed=2), index, VIEWS)
    cached_features(tmp_path, encoder, index.take(range(5)), VIEWS)
    cached_features(tmp_path, encoder, index.take([5, 4, 3, 2, 1, 0]), VIEWS)
    cached_features(tmp_path, encoder, index, ViewSpec(size=40, mean=0.4, std=0.2))
    assert len(calls) == 4
    assert not list(tmp_path.glob("*.part"))


def test_encoder_hash_sees_every_value(encoder: nn.Module) -> None:
    same = build_encoder("resnet18", seed=1)
    assert encoder_hash(same) == encoder_hash(encoder)
    same.bn1.running_mean[3] += 1e-6
    assert encoder_hash(same) != encoder_hash(encoder)


def test_images_fingerprint_sees_contents_and_order(make_index) -> None:
    rows = [{"patient_id": "a", "crc32": 1}, {"patient_id": "b", "crc32": 2}]
    first = images_fingerprint(make_index(rows))
    assert first == images_fingerprint(make_index(rows))
    assert first != images_fingerprint(make_index(rows).take([1, 0]))
    assert first != images_fingerprint(make_index([rows[0], rows[1] | {"crc32": 3}]))


def test_features_are_kept_by_the_engine_and_device_that_made_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` is whatever it takes; two kinds of GPU may decode to other levels."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    keys = {}
    for name in ("A100", "H200"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        keys[name] = views_hash(VIEWS, "auto", "cuda")
        assert views_hash(VIEWS, "dali", "cuda") == views_hash(VIEWS, "auto", "cuda:1") == keys[name]
        keys[f"{name}, kornia"] = views_hash(VIEWS, "kornia", "cuda")
    keys |= {f"cpu, {engine}": views_hash(VIEWS, engine, "cpu") for engine in ("kornia", "dali", "resident")}
    assert len(set(keys.values())) == len(keys)
    assert views_hash(VIEWS, "auto", "cpu") == keys["cpu, kornia"]


def test_features_that_are_not_finite_are_refused(packed: Path) -> None:
    broken = build_encoder("resnet18", seed=1)
    nn.init.constant_(broken.conv1.weight, float("nan"))
    with pytest.raises(InputError, match="features of 4 of 4 images are not finite"):
        extract_features(broken, ShardIndex.open(packed).take(range(4)), VIEWS)


def test_an_absent_device_is_refused(packed: Path, encoder: nn.Module) -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        extract_features(encoder, ShardIndex.open(packed).take(range(4)), VIEWS, device="cuda")


@pytest.mark.gpu
def test_features_on_a_gpu_are_those_of_the_cpu(packed: Path, encoder: nn.Module) -> None:
    index = ShardIndex.open(packed).take(range(16))
    on_cpu, on_gpu = (extract_features(encoder, index, VIEWS, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0.05, atol=0.05 * np.abs(on_cpu).max())
