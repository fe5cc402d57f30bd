"""Views of encoded images are those of the loader, bit by bit."""

from pathlib import Path

import torch

from pipeline.encoded import encoded_views
from pipeline.loader import build_loader
from pipeline.views import ViewSpec
from shards.index import ShardIndex


def test_they_are_the_loaders(tiny_dataset: Path) -> None:
    index = ShardIndex.open(tiny_dataset).take(range(9))
    spec = ViewSpec(size=40, rotation=10, flip=0.5, mean=0.4, std=0.2, fill="edge")
    made = encoded_views([index.read(row) for row in index.rows.tolist()], spec)
    options = {"batch_size": 9, "num_views": 1, "engine": "kornia", "shuffle": "none", "last": "short"}
    with build_loader(index, spec.evaluation(), **options) as loader:
        (batch,) = loader
    assert torch.equal(made, batch.views[0])
    assert not torch.equal(made, encoded_views([index.read(row) for row in index.rows.tolist()], ViewSpec(size=40)))
