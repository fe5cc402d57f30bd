"""What holds of every method."""

import copy
from typing import Any

import pytest
import torch

from train.settings.methods import METHODS

pytestmark = pytest.mark.parametrize("name", list(METHODS))


def strategy_of(name: str) -> str:
    return "split" if METHODS[name].has_queue else "plain"


def step(method: Any, batch: Any, *, progress: float = 0.0, number: int = 0) -> Any:
    method.before_step(progress)
    objective = method.objective(method.model, batch.views, rows=batch.rows, batch=number)
    objective.loss.backward()
    method.after_backward()
    return objective


def test_gives_what_the_loop_needs(name: str, build: Any, batch_of: Any) -> None:
    _, method = build(name, strategy_of(name))
    objective = method.objective(method.model, batch_of(0).views, rows=batch_of(0).rows, batch=0)
    assert objective.loss.shape == ()
    assert objective.loss.dtype == torch.float32
    assert objective.features.shape == (8, 64)
    for embeddings in (objective.first, objective.second):
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(8))
        assert embeddings.dtype == torch.float32
    assert not any(t.requires_grad for t in (objective.first, objective.second, objective.features))
    if objective.accuracy is not None:
        assert objective.accuracy.shape == ()
        assert not objective.accuracy.requires_grad


def test_gradients_reach_everything_trainable_and_nothing_else(name: str, build: Any, batch_of: Any) -> None:
    _, method = build(name, strategy_of(name))
    step(method, batch_of(0))
    missing = [key for key, p in method.model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in method.model.parameters() if p.requires_grad)
    assert method.model.get_parameter("encoder.conv1.weight").grad.abs().max() > 0
    if method.target is not None:
        assert not any(p.requires_grad or p.grad is not None for p in method.target.parameters())


def test_the_loss_falls_on_one_batch(name: str, build: Any, batch_of: Any) -> None:
    """Ten steps on the same images, with the momentum copy held still, take the loss down."""
    _, method = build(name, strategy_of(name))
    optimizer = torch.optim.Adam([p for p in method.model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(10):
        objective = method.objective(method.model, batch_of(0).views, rows=batch_of(0).rows, batch=0)
        optimizer.zero_grad()
        objective.loss.backward()
        optimizer.step()
        losses.append(objective.loss.item())
    assert losses[-1] < losses[0], losses


def test_the_target_has_the_encoder_and_no_predictor_and_follows(name: str, build: Any, batch_of: Any) -> None:
    _, method = build(name, strategy_of(name), momentum=0.75)
    if method.target is None:
        return
    assert not any("predictor" in key for key in method.target.state_dict())
    weight, copied = (side.get_parameter("encoder.conv1.weight") for side in (method.model, method.target))
    assert torch.equal(weight, copied)
    start = copied.clone()
    with torch.no_grad():
        weight += 1
    method.before_step(0.0)
    torch.testing.assert_close(copied, start + 0.25)


def test_momentum_rises_over_the_run(name: str, build: Any) -> None:
    """From .5 at the start to 1 at the end, where the copy stands still."""
    _, method = build(name, strategy_of(name), momentum=0.5, momentum_end=1.0)
    if method.target is None:
        return
    weight, copied = (side.get_parameter("encoder.conv1.weight") for side in (method.model, method.target))
    for progress, share in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        with torch.no_grad():
            weight.copy_(copied + 1)
        before = copied.clone()
        method.before_step(progress)
        torch.testing.assert_close(copied - before, torch.full_like(before, share), rtol=1e-5, atol=1e-6)


def test_shared_state_and_that_of_the_ranks_are_all_state(name: str, build: Any, batch_of: Any) -> None:
    """With them another instance goes on bit for bit."""
    _, method = build(name, strategy_of(name))
    _, other = build(name, strategy_of(name))
    for number in range(2):
        step(method, batch_of(number), number=number)
    with torch.no_grad():
        for p in method.model.parameters():
            p += 0.01
    shared, ours = method.shared_state(), method.rank_state()
    assert shared.keys() | ours.keys() == method.state_dict().keys()
    assert shared.keys() >= dict(method.named_parameters()).keys()
    expected = {f"model.{key}" for key, _ in method.model.named_buffers()}
    if method.target is not None:
        expected |= {f"target.{key}" for key, _ in method.target.named_buffers()}
    assert expected == ours.keys()
    assert not expected & shared.keys()
    other.load_state_dict(copy.deepcopy(shared | ours))
    for number in range(2, 4):
        mine, same = (step(one, batch_of(number), progress=0.5, number=number) for one in (method, other))
        assert torch.equal(mine.loss, same.loss)
        assert torch.equal(mine.first, same.first)
    for key, buffer in other.rank_state().items():
        assert torch.equal(buffer, ours[key]), key


def test_the_step_never_waits_for_the_device(name: str, build: Any, batch_of: Any, no_reading: Any) -> None:
    _, method = build(name, strategy_of(name))
    with no_reading():
        for number in range(2):
            step(method, batch_of(number), progress=number / 2, number=number)


def test_small_crops_are_learnt_from(name: str, build: Any, batch_of: Any) -> None:
    """At a lower size, behind the first two views: they change loss and gradient, not what else is told."""
    if not METHODS[name].takes_small_crops:
        return
    found, batch = [], batch_of(0)
    small = tuple(torch.randn(3, 8, 1, 16, 16, generator=torch.Generator().manual_seed(1)))
    for views in (batch.views, (*batch.views, *small), (*batch.views, *(crop.flip(0) for crop in small))):
        _, method = build(name, "plain", num_prototypes=12)
        batch.views = views
        found.append((step(method, batch), method.model.encoder.conv1.weight.grad))
    (without, _), (one, gradient), (other, other_gradient) = found
    assert len({objective.loss.item() for objective, _ in found}) == 3
    assert not torch.equal(gradient, other_gradient)
    assert torch.equal(without.first, one.first)
    assert torch.equal(without.second, other.second)
    assert one.features.shape == (8, 64)


@pytest.mark.gpu
def test_the_step_never_synchronises_with_a_gpu(name: str, build: Any, batch_of: Any) -> None:
    _, method = build(name, strategy_of(name), device="cuda")
    batch = batch_of(0)
    batch.views = tuple(view.cuda() for view in batch.views)
    step(method, batch)  # libraries may synchronise while they start
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(method, batch, progress=0.5, number=1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_state_is_fp32_in_every_precision(name: str, build: Any, batch_of: Any, precision: str) -> None:
    _, method = build(name, strategy_of(name), precision=precision)

    def forward(views: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return method.model(views)

    objective = method.objective(forward, batch_of(0).views, rows=batch_of(0).rows, batch=0)
    objective.loss.backward()
    method.after_backward()
    floats = [
        *method.model.parameters(),
        *method.rank_state().values(),
        objective.loss,
        *(value for value in method.shared_state().values() if isinstance(value, torch.Tensor)),
    ]
    assert all(t.dtype == torch.float32 for t in floats if t.is_floating_point())
