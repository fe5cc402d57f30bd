"""What the report looks at: a sample of the test images, and what the encoders that were measured make of it.

It needs the dataset and the encoders; where either is gone or is another by now, the part of the page that asks for it
says so instead. The sample is the same for all parts, so that a page of a large test set takes no longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from eval.report.embedding import sample_images
from eval.results.headline import Headline
from eval.results.roc import cells_of
from eval.results.table import Comparison
from eval.study.features import cached_features, encoder_hash
from eval.study.starts import rebuild
from pipeline.views import ViewSpec
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.file import is_ours
from train.encoders.saved import load_encoder

Content = TypeVar("Content")
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Missing:
    """Stands in the place of a part of the page that cannot be shown."""

    reason: str


def or_reason(make: Callable[[], Content]) -> Content | Missing:
    """The part, or in its place why it cannot be shown."""
    try:
        return make()
    except InputError as error:
        return Missing(f"Not shown: {error}.")


@dataclass(frozen=True)
class _Opened:
    encoder: nn.Module
    name: str
    views: ViewSpec


class Evidence:
    """The sample of test images, and what the encoders make of it; everything is computed when first asked for.

    Args:
        folder: of the comparison; features are kept in it.
        max_images: size of the sample.
    """

    def __init__(
        self, folder: Path, comparison: Comparison, headline: Headline, *, max_images: int, device: str, seed: int
    ) -> None:
        self.folder, self.comparison, self.headline = folder, comparison, headline
        self.max_images, self.device, self.seed = max_images, device, seed
        self._opened: dict[str, _Opened] = {}
        self._features: dict[str, Floats] = {}

    @property
    def label(self) -> str:
        """The label that neighbours and cases are about: the only one, or that with the most positive studies."""
        test = self.comparison.test
        return max(self.comparison.labels, key=lambda label: test[label].num_positive_studies)

    @cached_property
    def test(self) -> ShardIndex:
        """All test images that were scored.

        Raises:
            InputError: the dataset or the cells are gone, or it was packed anew.
        """
        index = ShardIndex.open(*self.comparison.data)
        if list(index.fingerprints) != self.comparison.datasets:
            raise InputError(f"the dataset {' '.join(self.comparison.data)} was packed anew since")
        row = self.headline.row
        cells = cells_of(self.folder, self.comparison, row.start, readout=row.readout, fraction=row.fraction)
        cell = next(cells, None)
        if cell is None:
            raise InputError("the scores (the folder cells beside results.json) are not there")
        return index.take(index.positions(cell.test_rows))

    @cached_property
    def sample(self) -> ShardIndex:
        """The images that are shown and mapped."""
        return sample_images(self.test, self.max_images, seed=self.seed)

    def labels(self, label: str) -> Floats:
        """Labels of the sample: 1, 0, or NaN where unknown."""
        return self.sample.labels(label, self.comparison.protocol["uncertain"])

    def opened(self, start: str) -> _Opened:
        """The first encoder of a start.

        Raises:
            InputError: it is gone, or no longer the one that was measured.
        """
        if start not in self._opened:
            self._opened[start] = _open(self.comparison, start)
        return self._opened[start]

    def features(self, start: str) -> Floats:
        """Features of the sample by the first encoder of a start."""
        if start not in self._features:
            opened = self.opened(start)
            self._features[start] = cached_features(
                self.folder / "features",
                opened.encoder,
                self.sample,
                opened.views,
                device=self.device,
                description=f"features for the report, {start}",
            )
        return self._features[start]


def _open(comparison: Comparison, start: str) -> _Opened:
    about = comparison.starts[start]
    views = from_mapping(ViewSpec, comparison.views[start], "views")
    source = about.sources[0]
    if is_ours(source):
        encoder: nn.Module = load_encoder(source).encoder
        if encoder_hash(encoder) in about.hashes:
            return _Opened(encoder, about.encoder, views)
    else:
        seed = about.seeds[0] if about.seeds else comparison.seed
        for norm in ("batch", "group"):  # results do not keep it, and the hash tells
            encoder = rebuild(about.encoder, weights=source, norm=norm, seed=seed, size=views.size)
            if encoder_hash(encoder) in about.hashes:
                return _Opened(encoder, about.encoder, views)
    raise InputError(f"the encoder {source} is not the one that was measured")
