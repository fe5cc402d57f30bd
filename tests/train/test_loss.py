import torch
import torch.nn.functional as F

from train.loss import info_nce


def embeddings(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_equals_the_concatenated_cross_entropy_in_value_and_gradient() -> None:
    key, negatives = embeddings(12, 1), embeddings(40, 2)
    query, same = embeddings(12, 0).requires_grad_(), embeddings(12, 0).requires_grad_()

    logits = torch.cat([(same * key).sum(1, keepdim=True), same @ negatives.T], dim=1) / 0.2
    expected = F.cross_entropy(logits, torch.zeros(12, dtype=torch.long))
    loss = info_nce(query, key, negatives, temperature=0.2).loss

    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, query)[0], torch.autograd.grad(expected, same)[0], rtol=1e-4, atol=1e-7
    )


def test_accuracy_is_the_share_of_queries_nearest_to_their_key() -> None:
    query, negatives = embeddings(4, 0), embeddings(30, 1)
    key = query.clone()
    key[3] = -query[3]
    accuracy = info_nce(query, key, negatives, temperature=0.07).accuracy
    assert accuracy.item() == 0.75


def test_is_fp32_whatever_comes_in() -> None:
    loss = info_nce(embeddings(4, 0).bfloat16(), embeddings(4, 1).bfloat16(), embeddings(9, 2), temperature=0.07).loss
    assert loss.dtype == torch.float32


def test_does_not_overflow_at_a_low_temperature() -> None:
    query = embeddings(4, 0)
    loss = info_nce(query, -query, query, temperature=0.001).loss
    torch.testing.assert_close(loss, torch.tensor(2000.0), rtol=1e-3, atol=0)
