"""Planted faults: each kind is found, with the line that did it, and what is right is not."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from pipeline.upload import upload
from tests.gpu.fake import DEVICE, FakeCuda

HOST = torch.arange(12.0).view(3, 4)


def on_device() -> torch.Tensor:
    return torch.ones(3, 4, device=DEVICE)


READS: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x.sum() > 0 else 2,
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu", non_blocking=True),
    "copied": lambda x: HOST.clone().copy_(x),
    "equal": lambda x: torch.equal(x, x),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "mask written": lambda x: x.index_put_((x > 0,), torch.zeros((), device=DEVICE)),
    "selected": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "repeated": lambda x: x.repeat_interleave(torch.ones(3, dtype=torch.int64, device=DEVICE), dim=0),
}
WAITS: dict[str, Callable[[torch.Tensor], object]] = {
    "inverse": lambda x: torch.linalg.inv(x @ x.T),
    "drawn": lambda x: torch.multinomial(x, 1),
    "synchronize": lambda x: torch.cuda.synchronize(),
}
UPLOADS: dict[str, Callable[[torch.Tensor], object]] = {
    "blocks": lambda x: HOST.to(DEVICE),
    "blocks from pinned": lambda x: HOST.pin_memory().to(DEVICE),
    "blocks by cuda()": lambda x: x + HOST.cuda(),
    "a list": lambda x: x.new_tensor([1.0, 2.0]),
    "a number": lambda x: torch.tensor(1.0, device=DEVICE),
    "copied": lambda x: x.copy_(HOST),
    "from pageable": lambda x: HOST.to(DEVICE, non_blocking=True),
    "from a pageable part": lambda x: HOST[1:].to(DEVICE, non_blocking=True),
}
RIGHT: dict[str, Callable[[torch.Tensor], object]] = {
    "uploaded": lambda x: upload(HOST, DEVICE),
    "a pinned part": lambda x: torch.empty(9, 4, pin_memory=True)[:3].to(DEVICE, non_blocking=True),
    "arithmetic": lambda x: x.mul_(2) + 1,
    "a number on the host": lambda x: x * torch.tensor(2.0),
    "filled": lambda x: x.new_full((2,), 3.0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "an index": lambda x: x[torch.zeros(2, dtype=torch.int64, device=DEVICE)],
    "sizes": lambda x: x.repeat_interleave(2, dim=0).argsort(),
    "on the host alone": lambda x: HOST.sum().item() + HOST[HOST > 3].tolist()[0],
}


def found(act: Callable[[torch.Tensor], object]) -> dict[str, int]:
    with FakeCuda() as cuda:
        x = on_device()
        with contextlib.suppress(DynamicOutputShapeException):  # whose size only the device knows
            act(x)  # nobody watches
        assert not cuda.found
        with cuda.watching(), contextlib.suppress(DynamicOutputShapeException):
            act(x)
    return cuda.found


@pytest.mark.parametrize("name", READS)
def test_reads_are_found(name: str) -> None:
    (what,) = found(READS[name])
    assert what.startswith("the host reads")


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_found(name: str) -> None:
    assert found(WAITS[name])


@pytest.mark.parametrize("name", UPLOADS)
def test_uploads_are_found(name: str) -> None:
    (what,) = found(UPLOADS[name])
    assert what.startswith("an upload from" if "from" in name and "blocks" not in name else "an upload blocks")


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_not(name: str) -> None:
    assert not found(RIGHT[name])


@pytest.mark.parametrize("act", [lambda x: x + HOST, lambda x: F.linear(x, HOST), lambda x: x.index_copy_(0, INDEX, x)])
def test_mixed_devices_raise(act: Any) -> None:
    with FakeCuda(), pytest.raises(Exception, match="device"):
        act(on_device())


INDEX = torch.arange(3)


def test_a_backward_pass_gives_gradients_where_torchs_does() -> None:
    """Broadcast, added up, cast under autocast, through a function of our own and an optimiser's step."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.clone(), x * 2

        @staticmethod
        def backward(ctx: Any, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return first + second * 2

    def shapes(device: torch.device) -> dict[str, Any]:
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 3)
        )
        model[2].extra = nn.Parameter(torch.ones(()))  # type: ignore[union-attr]
        model = model.to(device)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        with torch.autocast(device.type, torch.bfloat16):
            out = model(torch.zeros(2, 1, 5, 5, device=device))
        _, doubled = Twice.apply(out)
        (doubled.float() + out).square().mean().backward()
        optimizer.step()
        return {name: None if p.grad is None else (p.grad.shape, p.grad.dtype) for name, p in model.named_parameters()}

    expected = shapes(torch.device("cpu"))
    with FakeCuda():
        assert shapes(DEVICE) == expected
    assert expected["2.extra"] is None
