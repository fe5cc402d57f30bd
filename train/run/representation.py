"""Measures of a representation that need no labels, as pure functions. Nothing is read back from the device.

Legend: N rows, D embedding, F features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_PAIRED = 1024  # rows that pairs are taken of: half a million pairs


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of positives (N, D), normalised: 0 to 4, 0 is perfect (Wang and Isola 2020, arXiv
    2005.10242, section 4.1.1, with exponent 2)."""
    return (first - second).square().sum(dim=1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean Gaussian potential, with t = 2, over pairs of (N, D), normalised: 0 is collapse, -4 spread over
    the whole sphere (Wang and Isola 2020, section 4.1.2). Of at most the first 1,024 rows."""
    return torch.pdist(embeddings[:_MOST_PAIRED].float()).square().mul(-2).exp().mean().log()


def spread(normalised: Tensor) -> Tensor:
    """Standard deviation over the rows of (N, D), normalised, averaged over the D directions, times sqrt(D): 0 is
    collapse, 1 spread over the whole sphere (Chen and He 2020, arXiv 2011.10566, figure 2: they plot it before the
    factor, and 1 / sqrt(D) is its value for a healthy run)."""
    return normalised.float().std(dim=0).mean() * normalised.shape[1] ** 0.5


def effective_rank(features: Tensor) -> Tensor:
    """How many directions (N, F) vary in: the exponential of the entropy of the singular values of the centred
    features, from 1 to min(N - 1, F) (Roy and Vetterli 2007)."""
    return _entropic_rank(features.double() - features.double().mean(dim=0), floor=0.0)


def rankme(features: Tensor) -> Tensor:
    """As :func:`effective_rank`, but of the features as they are, so a mean that all images share counts as a direction
    and the more it outweighs the others the closer this is to 1 (Garrido et al. 2023, arXiv 2210.02885, equation 1)."""
    return _entropic_rank(features.double(), floor=1e-7)


def measure(first: Tensor, second: Tensor, features: Tensor) -> dict[str, float]:
    """All measures by their name in ``metrics.jsonl``, in one reading from the device.

    Args:
        first, second: normalised embeddings (N, D) of both views of the last batch. Of one batch only, as its images
            were embedded by the same weights: between batches all embeddings may move together.
        features: the encoder's, of one batch or of several (N, F).
    """
    measures = {
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
        "embedding_spread": spread(first),
        "feature_spread": spread(F.normalize(features.float(), dim=1)),
        "effective_rank": effective_rank(features),
        "rankme": rankme(features),
    }
    values = torch.stack([value.double() for value in measures.values()]).tolist()  # waits for the device
    return dict(zip(measures, values, strict=True))


def _entropic_rank(matrix: Tensor, *, floor: float) -> Tensor:
    # Singular values by the smaller Gram matrix, in double precision: twice the speed of a decomposition, and the
    # singular values that it cannot tell from 0 are below 1e-7 of the largest.
    gram = matrix.T @ matrix if matrix.shape[0] > matrix.shape[1] else matrix @ matrix.T
    values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    share = values / values.sum().clamp_min(torch.finfo(torch.float64).tiny) + floor
    return torch.special.entr(share).sum().exp()
