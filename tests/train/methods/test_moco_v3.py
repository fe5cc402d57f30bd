import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from train.methods.moco_v3 import MoCoV3, batch_nce
from train.ranks.world import World
from train.settings.config import EncoderConfig, MethodConfig, PretrainConfig

HIDDEN = [nn.Linear, nn.BatchNorm1d, nn.ReLU]


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of MoCo v3, written out, on one process."""
    config, method = build("moco_v3", momentum=0.9)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in method.model.parameters():
            p += 0.01 * torch.randn_like(p)
    f_q, f_k = copy.deepcopy(method.model), copy.deepcopy(method.target)
    x1, x2 = batch_of(0).views

    method.before_step(0.0)
    objective = method.objective(method.model, (x1, x2), rows=batch_of(0).rows, batch=0)
    objective.loss.backward()

    def ctr(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        tau = config.method.temperature
        return 2 * tau * F.cross_entropy(q @ k.T / tau, torch.arange(8))

    with torch.no_grad():
        for p_k, p_q in zip(f_k.parameters(), (*f_q.encoder.parameters(), *f_q.projector.parameters()), strict=True):
            p_k.copy_(0.9 * p_k + 0.1 * p_q)
        k1, k2 = (F.normalize(f_k.projector(f_k.encoder(x)), dim=1) for x in (x1, x2))
    q1, q2 = (F.normalize(f_q.predictor(f_q.projector(f_q.encoder(x))), dim=1) for x in (x1, x2))
    loss = ctr(q1, k2) + ctr(q2, k1)
    loss.backward()

    torch.testing.assert_close(objective.loss, loss)
    for (key, ours), theirs in zip(method.model.named_parameters(), f_q.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=key)
    for (key, ours), theirs in zip(method.target.state_dict().items(), f_k.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=key)


def test_a_residual_network_gets_the_papers_heads(build: Any) -> None:
    _, method = build("moco_v3")
    kinds = [[type(layer) for layer in head] for head in (method.model.projector, method.model.predictor)]
    assert kinds == [[*HIDDEN, nn.Linear, nn.BatchNorm1d], [*HIDDEN, nn.Linear]]


def test_a_vision_transformer_gets_the_papers_heads_and_a_patch_projection_that_stays() -> None:
    config = PretrainConfig(
        encoder=EncoderConfig(name="vit_small"),
        method=MethodConfig(name="moco_v3", embedding=32, projector_hidden=48, predictor_hidden=24),
    )
    unused: Any = None
    method = MoCoV3(config, World(rank=0, size=1, local_rank=0, device=torch.device("cpu")), unused)
    kinds = [[type(layer) for layer in head] for head in (method.model.projector, method.model.predictor)]
    assert kinds == [[*HIDDEN, *HIDDEN, nn.Linear, nn.BatchNorm1d], [*HIDDEN, nn.Linear, nn.BatchNorm1d]]
    method.model(torch.randn(2, 1, 32, 32)).prediction.sum().backward()
    still = {name for name, p in method.model.named_parameters() if p.grad is None}
    assert still == {"encoder.patch_embed.proj.weight", "encoder.patch_embed.proj.bias"}


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
