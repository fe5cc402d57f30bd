"""Grad-CAM equals the class activation map where features are averages of maps; weights are found again from scores."""

import numpy as np
import pytest
import torch
from torch import nn

from eval.report.saliency import OUTCOMES, choose_cases, completed, enlarged, grad_cam, recover_weights
from shards.base.errors import InputError
from train.encoders.build import build_encoder


@pytest.mark.parametrize(("name", "module"), [("resnet18", "layer4"), ("densenet121", "features")])
def test_grad_cam_is_the_class_activation_map(name: str, module: str) -> None:
    encoder = build_encoder(name, seed=0).eval()
    views, weights = torch.randn(2, 1, 64, 64), np.random.default_rng(0).normal(size=encoder.num_features)
    kept = []
    hook = encoder.get_submodule(module).register_forward_hook(lambda *given: kept.append(given[2].clone()))
    with torch.no_grad():
        scores = encoder(views).double().numpy() @ weights
    hook.remove()
    expected = np.einsum("bchw,c->bhw", kept[0].relu().double().numpy(), weights) / kept[0][0, 0].numel()
    maps = grad_cam(encoder, name, views, weights)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), scores, rtol=1e-3, atol=1e-4)


def test_grad_cam_of_a_last_map_of_one_place_is_that_of_the_stage_before() -> None:
    encoder = build_encoder("resnet18", seed=0).eval()
    maps = grad_cam(encoder, "resnet18", torch.randn(3, 1, 32, 32), np.ones(encoder.num_features))
    assert maps.shape == (3, 2, 2)
    assert maps.std(axis=(1, 2)).all()


def test_grad_cam_of_a_vision_transformer_leaves_it_as_it_was() -> None:
    encoder = build_encoder("vit_small", seed=0).eval()
    views = torch.randn(1, 1, 32, 32)
    before = encoder(views)
    maps = grad_cam(encoder, "vit_small", views, np.ones(encoder.num_features))
    assert maps.shape == (1, 2, 2)
    assert np.isfinite(maps).all()
    torch.testing.assert_close(encoder(views), before)


def test_grad_cam_of_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="encoder vgg: the module"):
        grad_cam(nn.Identity(), "vgg", torch.zeros(1, 1, 4, 4), np.ones(1))


def test_weights_are_found_again() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 20)) * generator.uniform(0.1, 9, size=20) + 5
    weights = generator.normal(size=20)
    np.testing.assert_allclose(recover_weights(features, features @ weights - 3), weights, rtol=1e-6)
    few = features[:10]
    found = recover_weights(few, few @ weights - 3)
    np.testing.assert_allclose((few - few.mean(axis=0)) @ found, (few - few.mean(axis=0)) @ weights, rtol=1e-6)


def test_scores_of_something_else_are_refused() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 5))
    with pytest.raises(InputError, match="not linear"):
        recover_weights(features, generator.normal(size=200))
    with pytest.raises(InputError, match="same score"):
        recover_weights(features, np.ones(200))


def test_completed_maps_add_up_and_enlarged_ones_keep_their_sign() -> None:
    maps = np.array([[[1.0, -2.0], [0.0, 0.0]]], dtype=np.float32)
    whole = completed(maps, np.array([3.0]))
    assert whole.sum() == pytest.approx(3.0)
    assert whole[0, 0, 0] - whole[0, 0, 1] == pytest.approx(3.0)
    large = enlarged(maps, (8, 8))
    assert large.shape == (1, 8, 8)
    assert large.min() == -1
    assert large[0, 0, 0] == pytest.approx(0.5)
    assert (enlarged(np.zeros((1, 2, 2), dtype=np.float32), (4, 4)) == 0).all()


def test_cases_are_what_the_threshold_makes_of_them() -> None:
    labels = np.array([0.0] * 10 + [1.0] * 3 + [np.nan])
    scores = np.array([*range(10), 20.0, 8.5, 3.0, 50.0])
    cases = choose_cases(labels, scores, specificity=0.9, num_each=2, seed=0)
    found, missed, alarm, passed = (set(cases.positions[outcome].tolist()) for outcome in OUTCOMES)
    assert (scores[labels == 0] <= cases.threshold).mean() >= 0.9
    assert found == {10}
    assert missed == {11, 12}
    assert alarm <= {9}
    assert len(passed) == 2
    assert passed <= set(range(10))
