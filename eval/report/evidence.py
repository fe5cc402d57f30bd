"""The parts of the report that look at images: a map of the embedding, nearest neighbours, and where the encoder looks.

They need the dataset and the encoders that were measured; where either is gone or is another by now, the part says so
instead. Images are a sample, the same for all parts, so that a page of a large test set takes no longer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eval.report.embedding import agreement, choose_queries, embed, nearest, sample_images
from eval.report.figures import map_figure
from eval.report.pictures import data_uri, gray, load_views, overlay
from eval.report.saliency import OUTCOMES, choose_cases, completed, enlarged, grad_cam, recover_weights
from eval.results.headline import Answer
from eval.results.roc import cells_of
from eval.results.table import Comparison
from eval.study.cells import Cell
from eval.study.features import cached_features, encoder_hash
from eval.study.starts import is_run, rebuild
from eval.words import FEW_SHOT, amount, readout_words
from pipeline.views import ViewSpec
from shards.base.dataclass_io import from_mapping
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.saved import load_encoder

Floats = npt.NDArray[np.floating]
NUM_NEIGHBOURS = 7
_NUM_QUERIES_EACH = 2
_NUM_CASES_EACH = 2
_TILE_SIDE, _CASE_SIDE = 144, 224
_LINEAR = ("linear", FEW_SHOT)


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
        self, folder: Path, comparison: Comparison, found: Answer, *, max_images: int, device: str, seed: int
    ) -> None:
        self.folder, self.comparison, self.found = folder, comparison, found
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
        row = self.found.row
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


def map_figures(evidence: Evidence, labels: list[str]) -> dict[str, dict[str, str]]:
    """By label, by file name: the maps of the asked-about start and of the baseline.

    Raises:
        InputError: see :class:`Evidence`; too few images.
    """
    figures: dict[str, dict[str, str]] = {label: {} for label in labels}
    for start in dict.fromkeys([evidence.found.start, evidence.comparison.baseline]):
        points = embed(evidence.features(start), seed=evidence.seed)
        for label in labels:
            figures[label][start] = map_figure(points, evidence.labels(label), title=start, label=label)
    return figures


def neighbour_strips(evidence: Evidence) -> str:
    """Some images, each before its nearest neighbours of other patients.

    Raises:
        InputError: see :class:`Evidence`; too few patients.
    """
    start, label = evidence.found.start, evidence.label
    labels, patients = evidence.labels(label), evidence.sample.patients()
    features = evidence.features(start)
    queries = choose_queries(labels, _NUM_QUERIES_EACH, seed=evidence.seed)
    found = nearest(features, patients, queries, k=NUM_NEIGHBOURS)
    shown = np.unique(np.r_[queries, found.neighbours.ravel()])
    views = evidence.opened(start).views
    pixels = dict(zip(shown.tolist(), gray(load_views(evidence.sample.take(shown), views), views), strict=True))
    strips = []
    for query, neighbours, cosines in zip(queries.tolist(), found.neighbours, found.cosines, strict=True):
        tiles = [_tile(pixels[query], labels[query], label, "looked up", is_query=True)]
        tiles += [
            _tile(pixels[one], labels[one], label, f"cosine {cosine:.3f}")
            for one, cosine in zip(neighbours.tolist(), cosines, strict=True)
        ]
        strips.append(f'<div class="strip neighbours" style="--columns: {len(tiles)}">{"".join(tiles)}</div>')
    return f"<p>{_agreement_words(evidence)}</p>" + "".join(strips)


def saliency_cases(evidence: Evidence) -> str:
    """Images that a linear readout of the asked-about start got right and wrong, beside the map of where it looks.

    Raises:
        InputError: see :class:`Evidence`; no linear readout among the results, or one whose weights cannot be found.
    """
    start, label = evidence.found.start, evidence.label
    cell = _linear_cell(evidence)
    position = np.searchsorted(cell.test_rows, evidence.sample.rows, sorter=np.argsort(cell.test_rows))
    scores = cell.scores[np.argsort(cell.test_rows)[position], cell.labels.index(label)]
    labels = evidence.labels(label)
    if not {0.0, 1.0} <= set(labels.tolist()):
        raise InputError(f"the {len(labels)} images of the sample have one class of {label} only")
    weights = recover_weights(evidence.features(start), scores)
    specificity = evidence.comparison.specificity
    cases = choose_cases(labels, scores, specificity=specificity, num_each=_NUM_CASES_EACH, seed=evidence.seed)
    opened = evidence.opened(start)
    shown = np.concatenate([cases.positions[outcome] for outcome in OUTCOMES])
    views = load_views(evidence.sample.take(shown), opened.views)
    maps = grad_cam(opened.encoder.cpu(), opened.name, views, weights)
    maps = completed(maps, scores[shown] - cases.threshold)
    heats = enlarged(maps, (views.shape[-2], views.shape[-1]))
    pictures = iter(zip(gray(views, opened.views), heats, shown.tolist(), strict=True))
    blocks = []
    for outcome in OUTCOMES:
        tiles = []
        for _ in cases.positions[outcome]:
            pixels, heat, one = next(pictures)
            tiles.append(_tile(pixels, labels[one], label, f"score {scores[one]:+.2f}", side=_CASE_SIDE))
            tiles.append(_tile(overlay(pixels, heat), labels[one], label, "Grad-CAM", side=_CASE_SIDE))
        content = f'<div class="strip" style="--columns: 4">{"".join(tiles)}</div>' if tiles else "<p>No image.</p>"
        blocks.append(f"<div><h3>{outcome.capitalize()}</h3>{content}</div>")
    readout = f"{readout_words(cell.key.readout).lower()} with {amount(cell.key.readout, cell.key.fraction)} labelled"
    text = (
        f"{label}, {start}, {readout}, draw {cell.key.draw + 1}. Random images of each outcome at the threshold "
        f"{cases.threshold:+.2f}, which {100 * specificity:g} % of the negatives stay under. Grad-CAM on the last map "
        f"of {maps.shape[1]} x {maps.shape[2]} cells: orange speaks for a positive, blue against, and the cells add up "
        "to the score less the threshold. Colours are scaled image by image, so strengths cannot be compared between "
        "images."
    )
    return f'<p>{escape(text)}</p><div class="cases">{"".join(blocks)}</div>'


def or_reason(make: Callable[[], str]) -> str:
    """The part, or in its place why it cannot be shown."""
    try:
        return make()
    except InputError as error:
        return f'<p class="missing">Not shown: {escape(str(error))}.</p>'


def _open(comparison: Comparison, start: str) -> _Opened:
    about = comparison.starts[start]
    views = from_mapping(ViewSpec, comparison.views[start], "views")
    source = about.sources[0]
    if is_run(source):
        encoder = load_encoder(source).encoder
        if encoder_hash(encoder) in about.hashes:
            return _Opened(encoder, about.encoder, views)
    else:
        seed = about.seeds[0] if about.seeds else comparison.seed
        for norm in ("batch", "group"):  # results do not keep it, and the hash tells
            encoder = rebuild(about.encoder, weights=source, norm=norm, seed=seed)
            if encoder_hash(encoder) in about.hashes:
                return _Opened(encoder, about.encoder, views)
    raise InputError(f"the encoder {source} is not the one that was measured")


def _linear_cell(evidence: Evidence) -> Cell:
    comparison, start = evidence.comparison, evidence.found.start
    for readout in _LINEAR:
        for fraction in reversed(comparison.fractions(readout)):
            cell = next(cells_of(evidence.folder, comparison, start, readout=readout, fraction=fraction), None)
            if cell is not None:
                return cell
    raise InputError("the results hold no linear probe, whose weights the map is of")


def _agreement_words(evidence: Evidence) -> str:
    label, patients = evidence.label, evidence.sample.patients()
    labels = evidence.labels(label)
    shares = [
        f"{start} {100 * agreement(evidence.features(start), labels, patients, k=NUM_NEIGHBOURS):.0f} %"
        for start in dict.fromkeys([evidence.found.start, evidence.comparison.baseline])
    ]
    num_known = int(np.isfinite(labels).sum())
    return escape(
        f"Of the {NUM_NEIGHBOURS} nearest neighbours of an image with {label}, these share the label: "
        f"{', '.join(shares)}; chance alone gives {100 * float(np.nanmean(labels)):.0f} % "
        f"({num_known:,} images, neighbours of other patients). Below: {evidence.found.start}."
    )


def _tile(
    pixels: npt.NDArray[np.uint8],
    value: float,
    label: str,
    note: str,
    *,
    is_query: bool = False,
    side: int = _TILE_SIDE,
) -> str:
    told = f"{label} unknown" if np.isnan(value) else label if value == 1 else f"no {label}"
    kind = "" if np.isnan(value) else " present" if value == 1 else " absent"
    text = escape(f"{told}, {note}")
    return (
        f'<figure class="tile{kind}{" query" if is_query else ""}"><img src="{data_uri(pixels, side=side)}" '
        f'alt="Chest X-ray: {text}"><figcaption>{text}</figcaption></figure>'
    )


def pick_device(device: str) -> str:
    """``auto`` becomes a GPU if there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
