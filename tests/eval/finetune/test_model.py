"""The model: masked loss, fp32 head, learning rates by layer, batch norm, its files."""

import numpy as np
import pytest
import torch

from eval.classifier.network import ImageClassifier
from eval.finetune.config import FinetuneConfig
from eval.finetune.model import parameter_groups
from eval.training.engine import resolve_norm, train_mode
from eval.training.loop import masked_loss, positive_weights
from train.encoders.build import build_encoder


def test_loss_is_the_cross_entropy_of_what_is_labelled() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, generator=generator)
    labels = torch.randint(0, 2, (6, 3), generator=generator).float()
    labels[0, 0] = labels[3, 2] = float("nan")
    weights = torch.tensor([1.0, 2.0, 5.0])
    expected = 0.0
    for i in range(6):
        for j in range(3):
            if not labels[i, j].isnan():
                p = torch.sigmoid(logits[i, j])
                expected -= float(weights[j] * torch.log(p) if labels[i, j] else torch.log(1 - p))
    logits.requires_grad_()
    total, count = masked_loss(logits, labels, weights)
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert count.item() == 16
    total.backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == logits.grad[3, 2] == 0
    assert logits.grad.isfinite().all()


def test_balanced_weights_make_both_classes_weigh_the_same() -> None:
    labels = np.array([[1, 0], [0, 0], [0, np.nan], [0, 1]], dtype=np.float32)
    assert positive_weights(labels).tolist() == [3.0, 2.0]


def test_head_is_fp32_under_autocast() -> None:
    model = ImageClassifier(build_encoder("resnet18", seed=0), 2, seed=0).eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(3, 1, 32, 32))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_the_head_depends_on_the_seed_only() -> None:
    def head(seed: int) -> torch.Tensor:
        torch.rand(7)
        return ImageClassifier(build_encoder("resnet18", seed=0), 2, seed=seed).head.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


@pytest.mark.parametrize(
    ("name", "last", "deepest", "shallow"),
    [
        ("resnet18", "layer4.1.conv2.weight", 4, "conv1.weight"),
        ("densenet121", "features.norm5.weight", 4, "features.conv0.weight"),
        ("vit_small", "norm.weight", 12, "patch_embed.proj.weight"),
    ],
)
def test_each_parameter_has_one_rate_that_falls_towards_the_stem(
    name: str, last: str, deepest: int, shallow: str
) -> None:
    model = ImageClassifier(build_encoder(name, seed=0), 2, seed=0)
    config = FinetuneConfig(lr=1e-3, encoder_factor=0.5, layer_decay=0.8, weight_decay=0.1)
    groups = parameter_groups(model, config)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    names = {name: id(parameter) for name, parameter in model.named_parameters()}
    assert rates.keys() == set(names.values())
    assert sum(len(group["params"]) for group in groups) == len(rates)
    assert rates[names["head.weight"]] == 1e-3
    assert rates[names[f"encoder.{last}"]] == pytest.approx(0.5e-3)
    assert rates[names[f"encoder.{shallow}"]] == pytest.approx(0.5e-3 * 0.8**deepest)
    assert decays[names["head.weight"]] == 0.1
    assert decays[names["head.bias"]] == 0.0


def test_frozen_norm_keeps_its_statistics_and_learns_its_scale() -> None:
    def step(norm: str) -> ImageClassifier:
        model = ImageClassifier(build_encoder("resnet18", seed=0), 1, seed=0)
        train_mode(model, norm)  # type: ignore[arg-type]
        model(torch.randn(4, 1, 32, 32)).sum().backward()
        return model

    frozen, trained = step("frozen"), step("trained")
    assert not frozen.get_submodule("encoder.bn1").running_mean.any()
    assert frozen.get_parameter("encoder.bn1.weight").grad is not None
    assert trained.get_submodule("encoder.bn1").running_mean.any()


def test_norm_is_frozen_where_there_are_statistics() -> None:
    encoder = build_encoder("resnet18", seed=0)
    assert resolve_norm(encoder, "auto") == "trained"
    assert resolve_norm(encoder, "frozen") == "frozen"
    encoder.train()(torch.randn(4, 1, 32, 32))
    assert resolve_norm(encoder, "auto") == "frozen"
    assert resolve_norm(build_encoder("resnet18", seed=0, norm="group"), "auto") == "frozen"  # there is none
