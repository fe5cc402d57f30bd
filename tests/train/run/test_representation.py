import numpy as np
import pytest
import torch
import torch.nn.functional as F

from train.run.representation import alignment, effective_rank, measure, rankme, spread, uniformity


def sphere(num_rows: int, size: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(num_rows, size, generator=torch.Generator().manual_seed(seed)), dim=1)


def plain_rank(matrix: np.ndarray, epsilon: float = 0.0) -> float:
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    share = values / values.sum() + epsilon
    return float(np.exp(-(share * np.log(share)).sum()))


def test_alignment_is_zero_for_equal_and_four_for_opposite_pairs() -> None:
    query = sphere(8, 16)
    assert alignment(query, query).item() == 0
    assert alignment(query, -query).item() == pytest.approx(4)


def test_uniformity_is_zero_at_collapse_and_lower_when_spread() -> None:
    query = sphere(64, 16)
    assert uniformity(query[:1].repeat(8, 1)).item() == pytest.approx(0, abs=1e-5)
    pairs = [(a - b).square().sum() for i, a in enumerate(query) for b in query[:i]]
    expected = torch.stack(pairs).mul(-2).exp().mean().log()
    torch.testing.assert_close(uniformity(query), expected)
    assert uniformity(sphere(1000, 128)).item() == pytest.approx(-4, abs=0.1)


def test_spread_is_one_on_the_sphere_and_zero_at_collapse() -> None:
    query = sphere(2000, 128)
    assert spread(query).item() == pytest.approx(1, abs=0.01)
    assert spread(query[:1].repeat(50, 1)).item() == pytest.approx(0, abs=1e-5)
    columns = [column.std() for column in query[:40].numpy().astype(np.float64).T]
    deviations = [column * np.sqrt(40 / 39) for column in columns]  # of a sample
    assert spread(query[:40]).item() == pytest.approx(np.mean(deviations) * np.sqrt(128), rel=1e-5)


@pytest.mark.parametrize("shape", [(200, 32), (32, 200)])
def test_ranks_are_those_of_a_plain_decomposition(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).gamma(1.0, size=shape) * np.geomspace(1, 1e-3, shape[1])
    of = torch.from_numpy(features.astype(np.float32))
    expected = plain_rank(of.double().numpy() - of.double().numpy().mean(axis=0))
    assert effective_rank(of).item() == pytest.approx(expected, rel=1e-5)
    assert rankme(of).item() == pytest.approx(plain_rank(of.numpy(), 1e-7), rel=1e-5)


def test_effective_rank_counts_directions() -> None:
    directions = torch.linalg.qr(torch.randn(32, 32)).Q[:5]
    rank_5 = torch.cat([directions, -directions]).repeat(20, 1) + 3.0  # a common offset does not count
    assert effective_rank(rank_5).item() == pytest.approx(5, rel=1e-3)
    along_one_line = torch.linspace(-1, 1, 50)[:, None] * torch.randn(1, 32)
    assert effective_rank(along_one_line).item() == pytest.approx(1, abs=0.01)


def test_rankme_is_one_where_all_images_look_alike() -> None:
    assert rankme(torch.randn(1, 32).repeat(50, 1)).item() == pytest.approx(1, abs=0.01)
    assert rankme(torch.randn(50, 32) * 0.01 + 1).item() < 1.5 < effective_rank(torch.randn(50, 32)).item()


def test_measure_names_them_all() -> None:
    first, second, features = sphere(16, 8), sphere(16, 8, seed=1), torch.rand(40, 12)
    measured = measure(first, second, features)
    assert measured == {
        "alignment": pytest.approx(alignment(first, second).item()),
        "uniformity": pytest.approx(uniformity(first).item()),
        "embedding_spread": pytest.approx(spread(first).item()),
        "feature_spread": pytest.approx(spread(F.normalize(features, dim=1)).item()),
        "effective_rank": pytest.approx(effective_rank(features).item()),
        "rankme": pytest.approx(rankme(features).item()),
    }
