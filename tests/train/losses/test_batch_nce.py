import pytest
import torch
import torch.nn.functional as F

from train.losses.batch_nce import batch_nce


def embeddings(rows: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_equals_the_cross_entropy_over_all_ranks_keys_in_value_and_gradient(rank: int) -> None:
    """Algorithm 1 of MoCo v3 in float64, query by query; this rank's keys are the ``rank``-th third."""
    query, keys = embeddings(5, 0).requires_grad_(), embeddings(15, 1)
    terms = []
    for i, q in enumerate(query.double()):
        similarities = (keys.double() @ q / 0.3).exp()
        terms.append(-(similarities[5 * rank + i] / similarities.sum()).log())
    expected = 2 * 0.3 * torch.stack(terms).mean()
    loss = batch_nce(query, keys, rank=rank, temperature=0.3).loss
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(loss, query)[0], torch.autograd.grad(expected, query)[0], rtol=1e-4, atol=1e-6
    )


def test_equals_lightlys_with_the_other_rank_as_its_memory() -> None:
    """lightly has this loss with its negatives in a bank only: one query and the keys of all others."""
    lightly = pytest.importorskip("lightly.loss")
    query, keys = embeddings(1, 0), embeddings(9, 1)
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(8, 16))
    theirs.memory_bank.bank.copy_(keys[1:])
    ours = batch_nce(query, keys, rank=0, temperature=0.2).loss
    torch.testing.assert_close(ours, 2 * 0.2 * theirs(query, keys[:1]))


def test_two_ranks_average_to_one_of_twice_the_batch() -> None:
    query, keys = embeddings(8, 0), embeddings(8, 1)
    whole = batch_nce(query, keys, rank=0, temperature=0.2)
    parts = [batch_nce(half, keys, rank=rank, temperature=0.2) for rank, half in enumerate(query.chunk(2))]
    torch.testing.assert_close(sum(part.loss for part in parts) / 2, whole.loss)
    torch.testing.assert_close(sum(part.accuracy for part in parts) / 2, whole.accuracy)


def test_accuracy_is_the_share_of_queries_nearest_to_their_key() -> None:
    query = embeddings(4, 0)
    keys = query.clone()
    keys[3] = -query[3]
    assert batch_nce(query, keys, rank=0, temperature=0.2).accuracy.item() == 0.75


def test_collapsed_embeddings_find_nothing() -> None:
    same = embeddings(1, 0).expand(4, 16)
    assert batch_nce(same, same, rank=0, temperature=0.2).accuracy.item() == 0


def test_is_fp32_whatever_comes_in() -> None:
    loss = batch_nce(embeddings(4, 0).bfloat16(), embeddings(4, 1).bfloat16(), rank=0, temperature=0.2).loss
    assert loss.dtype == torch.float32
