"""Strips of X-rays under their captions: nearest neighbours, and where the encoder looks.

Legend: h w cells of a map.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.readouts.registry import READOUTS
from eval.report.embedding import agreement, choose_queries, nearest
from eval.report.evidence import Evidence
from eval.report.pictures import data_uri, gray, load_views, overlay
from eval.report.pointing import boxed, pointing
from eval.report.saliency import OUTCOMES, choose_cases, completed, enlarged, grad_cam, recover_weights
from eval.results.roc import cells_of
from eval.study.cells import Cell
from shards.base.errors import InputError
from shards.base.randomness import generator

NUM_NEIGHBOURS = 7
_NUM_QUERIES_EACH = 2
_NUM_CASES_EACH = 2
_MAPS_AT_ONCE = 32
_TILE_SIDE, _CASE_SIDE = 144, 224
_LINEAR = [name for name, readout in READOUTS.items() if readout.module == "linear"]


@dataclass(frozen=True)
class Tile:
    """``picture``: the data URI of an X-ray; ``text``: its caption; ``kind``: what page.css knows it by."""

    picture: str
    text: str
    kind: str


@dataclass(frozen=True)
class Neighbours:
    """Some images, each before its nearest neighbours, under a sentence on all of them."""

    about: str
    strips: list[list[Tile]]


@dataclass(frozen=True)
class Saliency:
    """By outcome: images, each before its map of ``size`` (h, w); ``pointing`` is a sentence on how often maps point
    into boxes, empty where the test set has none of the label."""

    about: str
    size: tuple[int, int]
    cases: dict[str, list[Tile]]
    pointing: str = ""


def neighbour_strips(evidence: Evidence) -> Neighbours:
    """Some images, each before its nearest neighbours of other patients.

    Raises:
        InputError: see :class:`Evidence`; too few patients.
    """
    start, label = evidence.headline.start, evidence.label
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
        strips.append(tiles)
    return Neighbours(_agreement_words(evidence), strips)


def saliency_cases(evidence: Evidence) -> Saliency:
    """Images that a linear readout of the asked-about start got right and wrong, beside the map of where it looks.

    Raises:
        InputError: see :class:`Evidence`; no linear readout among the results, or one whose weights cannot be found.
    """
    start, label = evidence.headline.start, evidence.label
    if evidence.comparison.config.get("layers"):
        raise InputError("the readout reads chosen layers, and the map is of what the encoder ends in")
    cell = _linear_cell(evidence)
    position = np.searchsorted(cell.test_rows, evidence.sample.rows, sorter=np.argsort(cell.test_rows))
    position = np.argsort(cell.test_rows)[position]
    # Of several folds the first: the weights are those of one readout.
    read = np.arange(len(position)) if cell.folds is None else np.flatnonzero(cell.folds[position] == cell.folds.min())
    sample, scores = evidence.sample.take(read), cell.scores[position[read], cell.labels.index(label)]
    labels = evidence.labels(label)[read]
    if not {0.0, 1.0} <= set(labels.tolist()):
        raise InputError(f"the {len(labels)} images of the sample have one class of {label} only")
    weights = recover_weights(evidence.features(start)[read], scores)
    specificity = evidence.comparison.specificity
    cases = choose_cases(labels, scores, specificity=specificity, num_each=_NUM_CASES_EACH, seed=evidence.seed)
    opened = evidence.opened(start)
    shown = np.concatenate([cases.positions[outcome] for outcome in OUTCOMES])
    views = load_views(sample.take(shown), opened.views)
    maps = grad_cam(opened.encoder.cpu(), opened.name, views, weights)
    maps = completed(maps, scores[shown] - cases.threshold)
    heats = enlarged(maps, (views.shape[-2], views.shape[-1]))
    pictures = iter(zip(gray(views, opened.views), heats, shown.tolist(), strict=True))
    tiles: dict[str, list[Tile]] = {outcome: [] for outcome in OUTCOMES}
    for outcome in OUTCOMES:
        for _ in cases.positions[outcome]:
            pixels, heat, one = next(pictures)
            tiles[outcome] += [
                _tile(pixels, labels[one], label, f"score {scores[one]:+.2f}", side=_CASE_SIDE),
                _tile(overlay(pixels, heat), labels[one], label, "Grad-CAM", side=_CASE_SIDE),
            ]
    known = READOUTS[cell.key.readout]
    readout = f"{known.heading.lower()} with {known.amount(cell.key.fraction)} labelled"
    fold = "" if cell.folds is None else f", fold {cell.folds.min()}"
    about = (
        f"{label}, {start}, {readout}, draw {cell.key.draw + 1}{fold}. Random images of each outcome at the threshold "
        f"{cases.threshold:+.2f}, which {100 * specificity:g} % of the negatives stay under."
    )
    return Saliency(about, maps.shape[1:], tiles, _pointing(evidence, cell, weights))


def _pointing(evidence: Evidence, cell: Cell, weights: npt.NDArray[np.floating]) -> str:
    label, opened = evidence.label, evidence.opened(evidence.headline.start)
    test = evidence.test.take(np.isin(evidence.test.rows, cell.test_rows if cell.folds is None else _first_fold(cell)))
    places, boxes = boxed(test, label)
    order = generator("pointing", evidence.seed).permutation(len(places))[: evidence.max_images]
    if not len(order):
        return ""
    images = test.take(places[order])
    maps = [
        grad_cam(opened.encoder.cpu(), opened.name, load_views(images.take(part), opened.views), weights)
        for part in np.array_split(np.arange(len(images)), -(-len(images) // _MAPS_AT_ONCE))
    ]
    level, chosen = evidence.comparison.level, [boxes[place] for place in order]
    found = pointing(images, chosen, np.concatenate(maps), opened.views, label=label, level=level, seed=evidence.seed)
    return found.in_words(level) if found else ""


def _first_fold(cell: Cell) -> npt.NDArray[np.int64]:
    assert cell.folds is not None
    return cell.test_rows[cell.folds == cell.folds.min()]


def _linear_cell(evidence: Evidence) -> Cell:
    comparison, start = evidence.comparison, evidence.headline.start
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
        for start in dict.fromkeys([evidence.headline.start, evidence.comparison.baseline])
    ]
    num_known = int(np.isfinite(labels).sum())
    return (
        f"Of the {NUM_NEIGHBOURS} nearest neighbours of an image with {label}, these share the label: "
        f"{', '.join(shares)}; chance alone gives {100 * float(np.nanmean(labels)):.0f} % "
        f"({num_known:,} images, neighbours of other patients). Below: {evidence.headline.start}."
    )


def _tile(
    pixels: npt.NDArray[np.uint8],
    value: float,
    label: str,
    note: str,
    *,
    is_query: bool = False,
    side: int = _TILE_SIDE,
) -> Tile:
    told = f"{label} unknown" if np.isnan(value) else label if value == 1 else f"no {label}"
    kind = "" if np.isnan(value) else "present" if value == 1 else "absent"
    return Tile(data_uri(pixels, side=side), f"{told}, {note}", f"{kind} query" if is_query else kind)
