import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from train.checkpoint import Progress
from train.config import PretrainConfig
from train.methods import build_method
from train.methods.moco import MoCo
from train.monitor import Monitor
from train.recipes import recipe
from train.world import World

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def make(strategy: Any = "split", **run: Any) -> tuple[PretrainConfig, MoCo]:
    base = recipe("debug")
    config = replace(
        base, run=replace(base.run, batch_size=8, precision="fp32", **run), norm=replace(base.norm, strategy=strategy)
    )
    method = build_method(config, WORLD)
    assert isinstance(method, MoCo)
    return config, method


def views(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.randn(2, 8, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    return first, second


def test_one_step_equals_the_papers_steps() -> None:
    """Algorithm 1 of MoCo, written out, with group norm so that shuffling changes nothing."""
    config, method = make("group")
    with torch.no_grad():
        for p in method.query.parameters():
            p += 0.01 * torch.randn_like(p)
    f_q, f_k, queue = copy.deepcopy(method.query), copy.deepcopy(method.key), method.negatives.keys.clone()
    x_q, x_k = views()

    method.before_step()
    objective = method.objective(method.query, (x_q, x_k), batch=0)
    objective.loss.backward()
    method.after_backward()

    m, t = config.method.momentum, config.method.temperature
    with torch.no_grad():
        for p_k, p_q in zip(f_k.parameters(), f_q.parameters(), strict=True):
            p_k.copy_(m * p_k + (1 - m) * p_q)
        k = f_k(x_k)[0]
    q = f_q(x_q)[0]
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1)
    loss = torch.nn.functional.cross_entropy(logits / t, torch.zeros(8, dtype=torch.long))
    loss.backward()
    queue[:8] = k

    torch.testing.assert_close(objective.loss, loss)
    for (name, ours), theirs in zip(method.query.named_parameters(), f_q.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
    for ours, theirs in zip(method.key.parameters(), f_k.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(method.negatives.keys, queue, rtol=1e-4, atol=1e-5)


def test_keys_come_back_in_the_order_of_their_queries() -> None:
    """With equal views and one encoder on both sides, each query finds its own key among the batch."""
    _, method = make("split")
    method.query.eval()
    method.key.eval()
    image = views()[0]
    objective = method.objective(method.query, (image, image), batch=3)
    torch.testing.assert_close(objective.query, objective.key, rtol=1e-4, atol=1e-5)


def test_split_groups_the_keys_otherwise_than_the_queries() -> None:
    seen: list[torch.Tensor] = []
    _, method = make("split")
    method.key.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = views()[0]
    for batch in range(2):
        method.objective(method.query, (image, image), batch=batch)
        assert not torch.equal(seen[batch], image)
        assert torch.equal(seen[batch].flatten(1).sum(1).sort().values, image.flatten(1).sum(1).sort().values)
    assert not torch.equal(seen[0], seen[1])


def test_key_side_gets_no_gradients_and_its_batchnorm_trains() -> None:
    _, method = make("split")
    before = {name: buffer.clone() for name, buffer in method.key.named_buffers()}
    method.objective(method.query, views(), batch=0).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.key.parameters())
    assert all(p.grad is not None for p in method.query.parameters())
    assert not torch.equal(method.key.get_buffer("encoder.bn1.running_mean"), before["encoder.bn1.running_mean"])


def test_the_step_never_waits_for_the_device(tmp_path: Any) -> None:
    class NoReading(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default), func
            return func(*args, **(kwargs or {}))

    _, method = make("split")
    monitor = Monitor(
        tmp_path, start=Progress(), num_steps=9, log_every=9, images_per_step=8, world=replace(WORLD, rank=1)
    )
    with NoReading():
        for batch in range(3):
            method.before_step()
            objective = method.objective(method.query, views(), batch=batch)
            objective.loss.backward()
            method.after_backward()
            monitor.observe(objective)
        with pytest.raises(AssertionError):
            objective.loss.item()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_state_is_fp32_in_every_precision(precision: str) -> None:
    _, method = make("split")
    method.autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32")
    with method.autocast():
        objective = method.objective(method.query, views(), batch=0)
    objective.loss.backward()
    method.after_backward()
    tensors = [*method.key.parameters(), *method.query.parameters(), method.negatives.keys, objective.loss]
    assert all(t.dtype == torch.float32 for t in tensors)
    torch.testing.assert_close(method.negatives.keys.norm(dim=1), torch.ones(32))


def test_state_dict_round_trip() -> None:
    _, method = make("split")
    _, other = make("split")
    method.objective(method.query, views(), batch=0)
    method.after_backward()
    state = copy.deepcopy(method.state_dict())
    other.load_state_dict(state)
    theirs = other.key.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in method.key.state_dict().items())
    assert torch.equal(method.negatives.keys, other.negatives.keys)
    assert method.rank_buffers().keys() == other.rank_buffers().keys()
    assert {"query.encoder.bn1.running_mean", "key.encoder.bn1.running_mean"} <= method.rank_buffers().keys()
