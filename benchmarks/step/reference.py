"""A MoCo step as it is commonly written, for comparison: three equal channels, fp32 throughout, a momentum update
parameter by parameter, a queue with its position on the device, concatenated logits with labels.

Legend: B batch, C channels, H W pixels, D embedding, K queue.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

WIDTH, TEMPERATURE, MOMENTUM = 128, 0.2, 0.999


class ReferenceStep:
    """Takes two views (B, 3, H, W) to the loss, and moves weights, key encoder and queue."""

    def __init__(self, encoder: str, *, queue: int, device: torch.device) -> None:
        network: Any = torchvision.models.get_model(encoder)
        name = "classifier" if hasattr(network, "classifier") else "fc"
        features = getattr(network, name).in_features
        head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, WIDTH))
        setattr(network, name, head)
        self.query = network.to(device)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.queue = F.normalize(torch.randn(WIDTH, queue, device=device), dim=0)  # (D, K)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.optimizer = torch.optim.Adam(self.query.parameters(), lr=1e-4, weight_decay=1e-4)

    def __call__(self, views: tuple[Tensor, ...]) -> Tensor:
        query = F.normalize(self.query(views[0]), dim=1)  # (B, D)
        with torch.no_grad():
            for key, source in zip(self.key.parameters(), self.query.parameters(), strict=True):
                key.data = key.data * MOMENTUM + source.data * (1 - MOMENTUM)
            order = torch.randperm(len(query), device=query.device)
            keys = F.normalize(self.key(views[1][order]), dim=1)[order.argsort()]
        positive = (query * keys).sum(dim=1, keepdim=True)  # (B, 1)
        logits = torch.cat([positive, query @ self.queue.clone().detach()], dim=1) / TEMPERATURE  # (B, 1 + K)
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._enqueue(keys)
        return loss.detach()

    def _enqueue(self, keys: Tensor) -> None:
        position, size = int(self.position), self.queue.shape[1]  # waits for the device
        slots = torch.arange(position, position + len(keys), device=keys.device) % size
        self.queue[:, slots] = keys.T
        self.position[0] = (position + len(keys)) % size

    def take(self, method: Any) -> None:
        """Takes over weights and queue of the trainer's MoCo: its one-channel kernel, a third in each channel."""
        for mine, theirs in ((self.query, method.model), (self.key, method.target)):
            weights = [*theirs.encoder.parameters(), *theirs.projector.parameters()]
            with torch.no_grad():
                for parameter, source in zip(mine.parameters(), weights, strict=True):
                    shape = parameter.shape
                    parameter.copy_(source if source.shape == shape else (source / 3).expand(shape))
        self.queue.copy_(method.negatives.keys.T)
