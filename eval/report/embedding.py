"""Which images an encoder holds to be alike: a map of its features in two dimensions, and nearest neighbours by cosine.

The map (principal components, then t-SNE) does not show how far apart groups are; figures are of the readouts, not of
the map. 1,000 images take about ten seconds on one core, and no more than that are shown.

Legend: N images, F features, Q queries, k neighbours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex
from train.encoders.neighbours import cosine_blocks

Floats = npt.NDArray[np.floating]
Positions = npt.NDArray[np.int64]
_NUM_COMPONENTS = 50
_PERPLEXITY = 30.0
_MIN_IMAGES = 10


def sample_images(index: ShardIndex, limit: int, *, seed: int) -> ShardIndex:
    """At most ``limit`` images of the selection at random, in row order."""
    if len(index) <= limit:
        return index
    order = generator("map", seed).permutation(len(index))
    return index.take(np.sort(order[:limit]))


def embed(features: Floats, *, seed: int) -> npt.NDArray[np.float64]:
    """The map (N, 2) of features (N, F), centred; the same for a seed.

    Raises:
        InputError: under ten images.
    """
    if len(features) < _MIN_IMAGES:
        raise InputError(f"a map of {len(features)} images says nothing; it takes {_MIN_IMAGES}")
    values = features - features.mean(axis=0, dtype=np.float64)
    deviation = values.std(axis=0)
    varies = deviation > 1e-6 * max(float(deviation.max()), np.finfo(float).tiny)
    if not varies.any():
        raise InputError("the features of all images are equal: the encoder has collapsed, or the images are blank")
    values = values[:, varies] / deviation[varies]
    with threadpool_limits(1, user_api="blas"):
        num_components = min(_NUM_COMPONENTS, *values.shape)
        components = PCA(num_components, svd_solver="randomized", random_state=seed).fit_transform(values)
        perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
        model = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        points: npt.NDArray[np.float64] = model.fit_transform(components).astype(np.float64)
    return points - points.mean(axis=0)


@dataclass(frozen=True)
class Nearest:
    """For each query its ``neighbours`` (Q, k), nearest first, as positions among the images, and their ``cosines``."""

    neighbours: Positions
    cosines: Floats


def nearest(features: Floats, patients: Positions, queries: Positions, *, k: int) -> Nearest:
    """The ``k`` nearest images of other patients for each of the queries.

    Images of the same patient would be found by the ribs and the scanner, which says nothing about the finding.

    Args:
        features: (N, F).
        patients: (N,) a number for each image's patient.
        queries: (Q,) positions among the images.

    Raises:
        InputError: a query has fewer than ``k`` images of other patients.
    """
    is_same = patients[queries][:, None] == patients[None, :]
    fewest = int((~is_same).sum(axis=1).min(initial=len(patients)))
    if fewest < k:
        raise InputError(f"{fewest} images of other patients, but {k} neighbours are to be shown")
    values = torch.from_numpy(features)
    found = Nearest(np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32))
    for block, cosines in cosine_blocks(values[queries], values):
        of_others = cosines.masked_fill(torch.from_numpy(is_same[block]), -torch.inf)
        found.cosines[block], found.neighbours[block] = of_others.topk(k, dim=1)
    return found


def choose_queries(labels: Floats, num_per_class: int, *, seed: int) -> Positions:
    """Positions of ``num_per_class`` random images with the label, then as many without; fewer where there are fewer.

    Args:
        labels: (N,) of 1, 0, or NaN where unknown.
    """
    order = generator("neighbours", seed).permutation(len(labels))
    chosen = [order[labels[order] == value][:num_per_class] for value in (1, 0)]
    return np.concatenate(chosen).astype(np.int64)


def agreement(features: Floats, labels: Floats, patients: Positions, *, k: int) -> float:
    """The share of the nearest ``k`` labelled neighbours of a positive image that are positive too, over all positives.

    Without any structure it is the share of positives among the images. NaN where there is no positive.
    """
    known = np.isfinite(labels)
    features, labels, patients = features[known], labels[known], patients[known]
    queries = np.flatnonzero(labels == 1)
    if not len(queries):
        return float("nan")
    return float(labels[nearest(features, patients, queries, k=k).neighbours].mean())
