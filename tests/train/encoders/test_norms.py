from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from tests.gpu.launches import Launches
from tests.train.processes import run_ranks
from train.encoders.norms import (
    FixedBatchNorm,
    SplitBatchNorm2d,
    SyncBatchNorm2d,
    fixed_batchnorm,
    group_norm,
    split_batchnorm,
    sync_batchnorm,
)


def make_norm(seed: int = 0) -> nn.BatchNorm2d:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    return norm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("together", [0, 2**20], ids=["one by one", "all at once"])
def test_split_equals_a_batchnorm_for_each_group(
    memory_format: torch.memory_format, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output, gradients and running statistics, within 1e-6, before and behind an in-place ReLU; memory format too."""
    monkeypatch.setattr("train.encoders.norms._CPU_TOGETHER", together)
    split = split_batchnorm(make_norm(), 4)
    groups = [make_norm() for _ in range(4)]
    images = torch.randn(16, 6, 5, 7).to(memory_format=memory_format).requires_grad_()
    same = images.detach().clone().requires_grad_()

    out = split(images)
    expected = torch.cat([norm(part) for norm, part in zip(groups, same.chunk(4), strict=True)])
    assert out.is_contiguous(memory_format=memory_format)
    assert_near(out, expected)
    weights = torch.randn(out.shape)
    (out.relu_() * weights).sum().backward()
    (expected.relu_() * weights).sum().backward()
    assert_near(images.grad, same.grad)
    assert_near(split.weight.grad, sum(norm.weight.grad for norm in groups))
    assert_near(split.bias.grad, sum(norm.bias.grad for norm in groups))
    assert_near(split.running_mean, torch.stack([norm.running_mean for norm in groups]).mean(0))
    assert_near(split.running_var, torch.stack([norm.running_var for norm in groups]).mean(0))
    assert split.num_batches_tracked == 1


def assert_near(value: Any, reference: Any) -> None:
    """Within 1e-6 of the largest."""
    torch.testing.assert_close(value, reference, rtol=0, atol=1e-6 * max(1.0, float(reference.detach().abs().max())))


def test_split_in_bf16_keeps_statistics_in_fp32() -> None:
    """As under autocast: what is normalised is bf16, its statistics are those of an ordinary layer in each group."""
    split, norm = split_batchnorm(make_norm(), 2), make_norm()
    images = (3 + torch.randn(8, 6, 5, 5)).bfloat16()
    assert split(images).dtype == torch.bfloat16
    norms = [norm, make_norm()]
    for layer, part in zip(norms, images.chunk(2), strict=True):
        layer(part)
    assert_near(split.running_var, torch.stack([layer.running_var for layer in norms]).mean(0))


def test_a_split_layer_is_few_launches_however_many_groups() -> None:
    """9 forward: 2 copies, the batch norm, scale and shift repeated, 3 for the running statistics, the counter; 5
    backward: 2 copies, the batch norm, scale and shift summed. One by one it was 12 and 11 with 4 groups."""
    for num_groups in (2, 8):
        layer = split_batchnorm(make_norm(), num_groups)
        images = torch.randn(16, 6, 5, 5, requires_grad=True)
        with Launches() as forward:
            out = layer(images)
        gradient = torch.ones_like(out)
        with Launches() as backward:
            out.backward(gradient)
        assert (forward.total, backward.total) == (9, 5), (forward.counts, backward.counts)


def test_split_features_without_scale_and_shift_equal_a_batchnorm_for_each_group() -> None:
    split = split_batchnorm(nn.Sequential(nn.BatchNorm1d(6, affine=False)), 4)
    features = torch.randn(16, 6)
    expected = torch.cat([nn.BatchNorm1d(6, affine=False)(part) for part in features.chunk(4)])
    torch.testing.assert_close(split(features), expected)


def test_a_group_does_not_see_the_others() -> None:
    split = split_batchnorm(make_norm(), 2)
    images = torch.randn(8, 6, 5, 5)
    before = split(images)[:4]
    images[4:] += 10
    assert torch.equal(split(images)[:4], before)


def test_evaluation_is_that_of_an_ordinary_batchnorm() -> None:
    split, norm = split_batchnorm(make_norm(), 2).eval(), make_norm().eval()
    images = torch.randn(3, 6, 4, 4)
    assert torch.equal(split(images), norm(images))


def test_its_state_is_an_ordinary_batchnorms() -> None:
    network = torchvision.models.resnet18()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    split_batchnorm(network, 4)
    assert sum(isinstance(layer, SplitBatchNorm2d) for layer in network.modules()) == 20
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    torchvision.models.resnet18().load_state_dict(network.state_dict())


def test_group_norm_replaces_every_batchnorm() -> None:
    network = group_norm(torchvision.models.resnet18())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    features = torch.randn(3, 32)
    torch.testing.assert_close(
        group_norm(nn.BatchNorm1d(32, affine=False))(features), nn.functional.layer_norm(features, (32,))
    )
    network.eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-4)


SCRIPT = Path(__file__).parent / "sync_two_ranks.py"


def test_two_processes_equal_one_of_twice_the_batch() -> None:
    """Outputs, gradients of inputs and weights, running statistics; fp32, channels-last, bf16."""
    run_ranks(SCRIPT)


def test_synchronised_state_is_an_ordinary_batchnorms() -> None:
    network = torchvision.models.resnet18()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    sync_batchnorm(network)
    assert sum(isinstance(layer, SyncBatchNorm2d) for layer in network.modules()) == 20
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    torchvision.models.resnet18().load_state_dict(network.state_dict())


def test_without_processes_it_is_an_ordinary_batch_norm() -> None:
    images = torch.randn(4, 6, 5, 5)
    assert torch.equal(sync_batchnorm(nn.BatchNorm2d(6))(images), nn.BatchNorm2d(6)(images))


def test_fixed_statistics_stay_and_scale_and_shift_are_trained() -> None:
    norm = make_norm()
    norm.running_mean.fill_(0.5), norm.running_var.fill_(4.0)
    fixed, images = fixed_batchnorm(make_norm()), torch.randn(4, 6, 5, 5)
    fixed.load_state_dict(norm.state_dict())
    before = {name: value.clone() for name, value in fixed.state_dict().items()}
    out = fixed.train()(images)
    torch.testing.assert_close(out, norm.eval()(images))
    out.square().sum().backward()
    assert fixed.weight.grad.abs().min() > 0
    assert fixed.bias.grad.abs().min() > 0
    assert all(torch.equal(fixed.state_dict()[name], value) for name, value in before.items())


def test_fixed_layers_are_left_alone_by_the_strategy_of_the_heads() -> None:
    encoder, projector = nn.Sequential(make_norm()), nn.Sequential(make_norm())
    split_batchnorm(nn.Sequential(fixed_batchnorm(encoder), projector), 2)
    assert [type(*part) for part in (encoder, projector)] == [FixedBatchNorm, SplitBatchNorm2d]
