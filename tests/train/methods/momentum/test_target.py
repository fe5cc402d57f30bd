from collections import OrderedDict
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from train.encoders.norms import group_norm, split_batchnorm
from train.methods.embedder import Embedder, mlp
from train.methods.momentum.target import Target
from train.ranks.world import World
from train.settings.config import NormConfig, PretrainConfig, RunConfig

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def make(strategy: Any = "plain", precision: Any = "fp32") -> tuple[Embedder, Target]:
    config = PretrainConfig(norm=NormConfig(strategy=strategy), run=RunConfig(batch_size=8, precision=precision))
    torch.manual_seed(0)
    encoder = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 32, 5, stride=2),
            bn1=nn.BatchNorm2d(32),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
        )
    )
    projector, predictor = mlp([32, 24, 16], norm=True, last_norm=False), mlp([16, 8, 16], norm=True, last_norm=False)
    source = Embedder(encoder, projector, predictor, channels_last=True)
    convert = {"split": partial(split_batchnorm, num_groups=4), "group": group_norm}.get(
        strategy, lambda module: module
    )
    convert(source)
    return source, Target(source, config, WORLD)


def images() -> torch.Tensor:
    return torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def test_starts_as_its_source_without_the_predictor() -> None:
    source, target = make()
    theirs = source.state_dict()
    assert source.predictor is not None
    assert target.predictor is None
    assert {name for name in theirs if not name.startswith("predictor.")} == target.state_dict().keys()
    assert all(torch.equal(value, theirs[name]) for name, value in target.state_dict().items())
    torch.testing.assert_close(target.embed(images(), batch=0), source(images()).embedding.detach())


def test_follows_parameter_by_parameter_whatever_their_order() -> None:
    source, target = make()
    start = {name: value.clone() for name, value in target.named_parameters()}
    with torch.no_grad():
        for i, p in enumerate(source.parameters()):
            p += i
    target.follow(0.75)
    for i, (name, _) in enumerate(source.named_parameters()):
        if name in start:
            torch.testing.assert_close(target.state_dict()[name], start[name] + 0.25 * i, msg=name)


def test_running_statistics_are_its_own() -> None:
    source, target = make()
    target.embed(images(), batch=0)
    ours, theirs = (side.get_buffer("encoder.bn1.running_mean") for side in (target, source))
    assert not torch.equal(ours, theirs)
    before = ours.clone()
    target.follow(0.0)
    assert torch.equal(ours, before)


@pytest.mark.parametrize("strategy", ["plain", "split", "group"])
def test_embeddings_come_back_in_order(strategy: str) -> None:
    source, target = make(strategy)
    source.eval(), target.eval()
    torch.testing.assert_close(
        target.embed(images(), batch=3), source(images()).embedding.detach(), rtol=1e-4, atol=1e-5
    )


def test_state_goes_from_one_to_another_and_shares_no_gradient() -> None:
    (_, target), (_, other) = make(), make()
    with torch.no_grad():
        for p in target.parameters():
            p += 1
    other.load_state_dict(target.state_dict())
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in target.state_dict().items())
    assert not any(p.requires_grad for p in other.parameters())


def test_computes_in_the_runs_precision_and_stays_fp32() -> None:
    seen: list[torch.dtype] = []
    _, target = make(precision="bf16")
    target.encoder.get_submodule("conv1").register_forward_hook(lambda *a: seen.append(a[2].dtype))
    assert target.embed(images(), batch=0).dtype == torch.float32
    assert seen == [torch.bfloat16]
    assert all(p.dtype == torch.float32 for p in target.parameters())


def test_a_rank_takes_its_own_share() -> None:
    _, target = make()
    everyone = torch.arange(12.0).view(6, 2)
    target._world = World(rank=1, size=3, local_rank=1, device=torch.device("cpu"))
    assert torch.equal(target.own(everyone), everyone[2:4])
