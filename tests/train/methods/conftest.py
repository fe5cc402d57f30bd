"""A method of each kind on 8 random images, without a dataset."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from train.encoders.norms import group_norm
from train.methods.build import build_method
from train.methods.contract import TrainingData
from train.ranks.world import World
from train.settings.config import MethodConfig, NormConfig, PretrainConfig, RunConfig


@dataclass
class Rows:
    """What :class:`TrainingData` reads of an index."""

    rows: Any
    patients: Callable[[], Any]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class OneOfTwo(World):
    """A rank of two, to whom the other's tensors come from a list, one a call."""

    other: list[torch.Tensor]

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        pair = [tensor, self.other.pop(0)]
        return torch.cat(pair if self.rank == 0 else pair[::-1])


class TinyEncoder(nn.Module):
    """Two convolutions under a residual network's names: shallow enough that written-out steps agree closely."""

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 32, 5, stride=2, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3, stride=2, bias=False), nn.BatchNorm2d(64)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        maps = self.bn1(self.conv1(views)).relu()
        return self.bn2(self.conv2(maps)).relu().mean(dim=(2, 3))


def build_tiny(name: str, *, seed: int, weights: str, norm: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TinyEncoder()
    return group_norm(encoder) if norm == "group" else encoder


class NoReading(TorchDispatchMode):
    """Refuses operations that bring a value from the device to the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reads = (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.equal.default,
            torch.ops.aten.nonzero.default,
        )
        assert func not in reads, func
        return func(*args, **(kwargs or {}))


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[PretrainConfig, Any]]:
    """``build(method, strategy, **fields of MethodConfig)``: settings of a small run, and the method.

    The encoder is a :class:`TinyEncoder`; row i of the data is of patient ``i // 2``.
    """
    monkeypatch.setattr("train.methods.embedder.build_encoder", build_tiny)

    def make(name: str, strategy: str = "plain", *, precision: str = "fp32", device: str = "cpu", **fields: Any) -> Any:
        sizes = {"embedding": 32, "projector_hidden": 48, "predictor_hidden": 24, "queue_size": 32}
        config = PretrainConfig(
            method=MethodConfig(name=name, **(sizes | fields)),  # type: ignore[arg-type]
            norm=NormConfig(strategy=strategy),  # type: ignore[arg-type]
            run=RunConfig(batch_size=8, precision=precision),  # type: ignore[arg-type]
        )
        index: Any = Rows(np.arange(64), patients=lambda: np.arange(64) // 2)
        world = World(rank=0, size=1, local_rank=0, device=torch.device(device))
        return config, build_method(config, world, TrainingData(index))

    return make


@pytest.fixture
def batch_of() -> Callable[[int], Any]:
    """``batch_of(seed)``: two views of 8 images at 32 px and their rows, each row of another patient."""

    def make(seed: int = 0) -> Any:
        first, second = torch.randn(2, 8, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
        return SimpleNamespace(views=(first, second), rows=torch.arange(0, 16, 2))

    return make


@pytest.fixture
def no_reading() -> Callable[[], AbstractContextManager[None]]:
    """A context in which reading a value back from the device is an error; it proves itself at its end."""

    @contextmanager
    def watch() -> Iterator[None]:
        with NoReading():
            yield
            with pytest.raises(AssertionError):
                torch.ones(1).sum().item()

    return watch
