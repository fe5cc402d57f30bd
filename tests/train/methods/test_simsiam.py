import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def test_one_step_equals_the_papers_steps(build: Any, batch_of: Any) -> None:
    """Algorithm 1 of SimSiam, written out."""
    _, method = build("simsiam")
    network = copy.deepcopy(method.model)
    x1, x2 = batch_of(0).views
    objective = method.objective(method.model, (x1, x2), rows=batch_of(0).rows, batch=0)
    objective.loss.backward()

    def distance(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        z = z.detach()
        return -(F.normalize(p, dim=1) * F.normalize(z, dim=1)).sum(dim=1).mean()

    z1, z2 = (network.projector(network.encoder(x)) for x in (x1, x2))
    p1, p2 = network.predictor(z1), network.predictor(z2)
    loss = distance(p1, z2) / 2 + distance(p2, z1) / 2
    loss.backward()

    torch.testing.assert_close(objective.loss, loss)
    for (key, ours), theirs in zip(method.model.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=key)
    assert objective.accuracy is None
    assert method.target is None


def test_heads_are_the_papers(build: Any) -> None:
    """A projector of three layers with batch norm behind each, and a predictor with a bottleneck."""
    _, method = build("simsiam")
    kinds = [[type(layer) for layer in head] for head in (method.model.projector, method.model.predictor)]
    hidden = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert kinds == [[*hidden, *hidden, nn.Linear, nn.BatchNorm1d], [*hidden, nn.Linear]]
    assert [layer.out_features for layer in method.model.predictor if isinstance(layer, nn.Linear)] == [24, 32]
