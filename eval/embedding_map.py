"""A map of an encoder's features in two dimensions: principal components, then t-SNE.

It shows which images the encoder holds to be alike, not how far apart groups are; figures are of the readouts, not of
the map. 1,000 images take about ten seconds on one core, and no more than that are shown.

Legend: N images, F features.
"""

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex

Floats = npt.NDArray[np.floating]
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
