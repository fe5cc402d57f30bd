import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from train.config import PretrainConfig
from train.methods.moco_v3 import MoCoV3
from train.sections import EncoderConfig, MethodConfig
from train.world import World

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
