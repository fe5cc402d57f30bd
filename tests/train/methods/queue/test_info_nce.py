import pytest
import torch
import torch.nn.functional as F

from train.methods.queue import info_nce as module
from train.methods.queue.info_nce import info_nce


def embeddings(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def reference(query: torch.Tensor, key: torch.Tensor, negatives: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """Equation 1 of MoCo in float64, query by query, over the negatives that are left."""
    losses = []
    for q, k, mask in zip(query.double(), key.double(), masked, strict=True):
        logits = torch.cat([(q @ k)[None], negatives.double()[~mask] @ q]) / 0.2
        losses.append(-logits.softmax(dim=0)[0].log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_equals_the_concatenated_cross_entropy_in_value_and_gradient(share: float) -> None:
    key, negatives = embeddings(12, 1), embeddings(40, 2)
    query = embeddings(12, 0).requires_grad_()
    masked = torch.rand(12, 40, generator=torch.Generator().manual_seed(3)) < share

    expected = reference(query, key, negatives, masked)
    loss = info_nce(query, key, negatives, temperature=0.2, masked=masked if share else None).loss

    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(loss, query)[0], torch.autograd.grad(expected, query)[0], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("width", [1, 7, 40])
def test_slices_of_the_queue_change_nothing(monkeypatch: pytest.MonkeyPatch, width: int, share: float) -> None:
    """Slices of one, of seven with a rest, and all at once; the last ones are nearest, so that the maximum rises, and
    one query has a slice without any negative."""
    monkeypatch.setattr(module, "_CPU_LOGITS", 12 * width)
    query, key = embeddings(12, 0).requires_grad_(), embeddings(12, 1).requires_grad_()
    order = (embeddings(40, 2) @ query.detach()[0]).argsort()
    negatives = embeddings(40, 2)[order]
    masked = torch.rand(12, 40, generator=torch.Generator().manual_seed(3)) < share
    masked[4, 7:14] = True

    expected = reference(query, key, negatives, masked)
    contrast = info_nce(query, key, negatives, temperature=0.2, masked=masked)

    torch.testing.assert_close(contrast.loss.double(), expected, rtol=1e-5, atol=0)
    for ours, exact in zip(
        torch.autograd.grad(contrast.loss, (query, key)), torch.autograd.grad(expected, (query, key)), strict=True
    ):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-6)
    logits = (query @ negatives.T).masked_fill(masked, -torch.inf)
    nearest = (query * key).sum(dim=1) > logits.amax(dim=1)
    assert contrast.accuracy == nearest.float().mean()


def test_gradients_scale_with_what_comes_from_above() -> None:
    """As with two terms of a symmetric loss, and under loss scaling."""
    query, key, negatives = embeddings(4, 0).requires_grad_(), embeddings(4, 1), embeddings(9, 2)
    (one,) = torch.autograd.grad(info_nce(query, key, negatives, temperature=0.2).loss, query)
    (scaled,) = torch.autograd.grad(info_nce(query, key, negatives, temperature=0.2).loss * 3, query)
    torch.testing.assert_close(scaled, 3 * one)


def test_keeps_nothing_of_the_size_of_the_logits() -> None:
    query, key, negatives = embeddings(64, 0).requires_grad_(), embeddings(64, 1), embeddings(5000, 2)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        info_nce(query, key, negatives, temperature=0.2)
    assert kept
    assert max(kept) <= 64 * 16


def test_stays_fp32_under_autocast() -> None:
    query, key, negatives = embeddings(4, 0), embeddings(4, 1), embeddings(9, 2)
    with torch.autocast("cpu", torch.bfloat16):
        contrast = info_nce(query, key, negatives, temperature=0.07)
    assert torch.equal(contrast.loss, info_nce(query, key, negatives, temperature=0.07).loss)


def test_equals_lightlys() -> None:
    lightly = pytest.importorskip("lightly.loss")
    query, key, negatives = embeddings(12, 0), embeddings(12, 1), embeddings(40, 2)
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(40, 16))
    theirs.memory_bank.bank.copy_(negatives)
    torch.testing.assert_close(info_nce(query, key, negatives, temperature=0.2).loss, theirs(query, key))


def test_accuracy_is_the_share_of_queries_nearest_to_their_key() -> None:
    query, negatives = embeddings(4, 0), embeddings(30, 1)
    key = query.clone()
    key[3] = -query[3]
    accuracy = info_nce(query, key, negatives, temperature=0.07).accuracy
    assert accuracy.item() == 0.75


def test_a_masked_negative_changes_nothing() -> None:
    query, key, negatives = embeddings(4, 0), embeddings(4, 1), embeddings(9, 2)
    masked = torch.zeros(4, 9, dtype=torch.bool)
    masked[:, 3] = True
    near = negatives.clone()
    near[3] = query[0]
    one, other = (info_nce(query, key, n, temperature=0.2, masked=masked) for n in (negatives, near))
    assert torch.equal(one.loss, other.loss)
    assert torch.equal(one.accuracy, other.accuracy)


def test_a_query_without_negatives_has_no_loss_and_no_gradient() -> None:
    query, key, negatives = embeddings(4, 0).requires_grad_(), embeddings(4, 1), embeddings(9, 2)
    masked = torch.zeros(4, 9, dtype=torch.bool)
    masked[1] = True
    contrast = info_nce(query, key, negatives, temperature=0.2, masked=masked)
    (gradient,) = torch.autograd.grad(contrast.loss, query)
    assert gradient.isfinite().all()
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).any()
    others = [0, 2, 3]
    expected = info_nce(query[others], key[others], negatives, temperature=0.2)
    torch.testing.assert_close(contrast.loss, expected.loss * 3 / 4)
    torch.testing.assert_close(contrast.accuracy, (expected.accuracy * 3 + 1) / 4)


def test_is_fp32_whatever_comes_in() -> None:
    loss = info_nce(embeddings(4, 0).bfloat16(), embeddings(4, 1).bfloat16(), embeddings(9, 2), temperature=0.07).loss
    assert loss.dtype == torch.float32


def test_does_not_overflow_at_a_low_temperature() -> None:
    query = embeddings(4, 0)
    loss = info_nce(query, -query, query, temperature=0.001).loss
    torch.testing.assert_close(loss, torch.tensor(2000.0), rtol=1e-3, atol=0)
