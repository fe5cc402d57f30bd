import math

import pytest
import torch

from train.methods.momentum.update import MomentumUpdate, momentum_at


def make(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((64, 3, 3), (17,), (5, 4))]


def test_equals_the_reference_loop() -> None:
    key, query = make(0), make(1)
    expected = [0.99 * k + 0.01 * q for k, q in zip(key, query, strict=True)]
    MomentumUpdate(key, query)(0.99)
    for k, e in zip(key, expected, strict=True):
        torch.testing.assert_close(k, e)


def test_is_exact_in_fp32_over_1000_steps() -> None:
    """In bf16 the same walk captures less than half of the true displacement."""
    key, query = make(0), make(0)
    exact = [k.double() for k in key]
    update = MomentumUpdate(key, query)
    generator = torch.Generator().manual_seed(2)
    for _ in range(1000):
        for q in query:
            q += 1e-3 * torch.randn(q.shape, generator=generator)
        update(0.999)
        for e, q in zip(exact, query, strict=True):
            e.lerp_(q.double(), 1 - 0.999)
    for k, e, start in zip(key, exact, make(0), strict=True):
        displacement = (e - start.double()).norm()
        assert (k.double() - e).norm() < 1e-3 * displacement


def test_follows_parameters_whose_storage_was_replaced() -> None:
    """ZeRO moves the query's parameters into one flat buffer after the lists were made."""
    query = [torch.nn.Parameter(p) for p in make(1)]
    key = make(0)
    update = MomentumUpdate(key, query)
    for p in query:
        p.data = torch.full_like(p, 7.0)
    update(0.0)
    assert all((k == 7.0).all() for k in key)


def test_momentum_is_constant_without_an_end() -> None:
    assert {momentum_at(progress, start=0.99, end=None) for progress in (0.0, 0.3, 1.0)} == {0.99}


def test_momentum_rises_by_half_a_cosine_and_reaches_its_end() -> None:
    """BYOL, section 3.3: 1 - (1 - start) (cos(pi k / K) + 1) / 2."""
    values = [momentum_at(k / 100, start=0.99, end=1.0) for k in range(101)]
    expected = [1 - (1 - 0.99) * (math.cos(math.pi * k / 100) + 1) / 2 for k in range(101)]
    assert values == pytest.approx(expected, abs=1e-15)
    assert values[0] == pytest.approx(0.99, abs=1e-15)
    assert values[-1] == 1.0
    assert values == sorted(values)
    assert momentum_at(1.0, start=0.99, end=0.999) == 0.999
