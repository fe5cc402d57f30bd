"""The evaluation's own arithmetic at CheXpert's size: linear probes at label fractions, and the bootstrap of patients;
and features of frozen encoders on a CPU by order in memory.

    python -m benchmarks evaluation

Features, labels and images are synthetic, so that nothing is measured but the arithmetic. Expect a minute for the whole
sweep of one label on two cores, and a few seconds for 10,000 paired resamples of 25,000 images.
"""

import copy
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from benchmarks.measuring.result import Comparison, Timing
from benchmarks.measuring.timing import time_variants
from benchmarks.settings import CHEXPERT_FRONTAL, CHEXPERT_PATIENTS, EvaluationConfig
from eval.readouts.linear import STRENGTHS, fit
from eval.stats.bootstrap import bootstrap
from train.encoders.build import build_encoder
from train.encoders.memory_format import in_fastest_format
from train.engine.memory import keep_freed_memory

Floats = npt.NDArray[np.float32]
_FEATURES = 512
_FRACTIONS = {0.001: 5, 0.01: 5, 0.1: 5, 1.0: 1}  # draws of each
_VALID, _TEST = 2000, 5000
_IMAGES, _PATIENTS, _RESAMPLES = 25_000, 15_000, 10_000
_LOOPED = 20  # resamples that the plain loop is timed on
_CPU = torch.device("cpu")
_ENCODERS = (("resnet18", 64), ("resnet18", 224), ("timm:tf_efficientnet_lite0", 128))
_BATCH = 64


def run(config: EvaluationConfig) -> Iterator[Comparison | str]:
    """The comparisons with scikit-learn, and remarks on the sweep."""
    images = config.images // 20 if config.quick else config.images
    made = _Synthetic(images, max(config.labels))
    for num in config.labels[:1] if config.quick else config.labels:
        yield _sweep(made, 1 if config.quick else num)
    yield _probe(made, turns=config.turns)
    yield _bootstrap(_RESAMPLES // 10 if config.quick else _RESAMPLES, turns=config.turns)
    for name, size in _ENCODERS[:1] if config.quick else _ENCODERS:
        yield _forward(name, size, turns=config.turns)


class _Synthetic:
    """Features with a weak linear signal of each label, a fifth of the labels unknown; N images."""

    def __init__(self, num_images: int, num_labels: int) -> None:
        random = np.random.Generator(np.random.Philox(0))
        total = num_images + _VALID + _TEST
        self.features = random.standard_normal((total, _FEATURES), dtype=np.float32)
        weights = random.standard_normal((_FEATURES, num_labels), dtype=np.float32) / _FEATURES**0.5
        noise = random.standard_normal((total, num_labels), dtype=np.float32)
        self.labels = (self.features @ weights + 2 * noise > 1.0).astype(np.float32)
        self.labels[random.random(self.labels.shape) < 0.2] = np.nan
        self.patients = random.integers(0, max(1, num_images * CHEXPERT_PATIENTS // CHEXPERT_FRONTAL), total)
        self.train = np.arange(num_images)
        self.valid, self.test = np.split(np.arange(num_images, total), [_VALID])

    def draw(self, fraction: float, number: int) -> npt.NDArray[np.int64]:
        """The training images of one draw."""
        random = np.random.Generator(np.random.Philox(number))
        return np.sort(random.choice(self.train, max(50, round(fraction * len(self.train))), replace=False))

    def fit(self, rows: npt.NDArray[np.int64], num_labels: int) -> object:
        """Our probe of one draw."""
        of = slice(None, num_labels)
        return fit(
            self.features[rows],
            self.labels[rows, of],
            self.patients[rows],
            self.features[self.valid],
            self.labels[self.valid, of],
            self.features[self.test],
        )


def _sweep(made: _Synthetic, num_labels: int) -> str:
    seconds = []
    for fraction, num_draws in _FRACTIONS.items():
        begin = time.perf_counter()
        for draw in range(num_draws):
            made.fit(made.draw(fraction, draw), num_labels)
        seconds.append(time.perf_counter() - begin)
    parts = ", ".join(
        f"{100 * fraction:g} % {taken:.1f} s" for fraction, taken in zip(_FRACTIONS, seconds, strict=True)
    )
    return (
        f"sweep of {len(made.train):,} x {_FEATURES} features, {num_labels} label(s), {len(STRENGTHS)} penalties, five "
        f"draws (one of all): {sum(seconds):.1f} s ({parts})"
    )


def _probe(made: _Synthetic, *, turns: int) -> Comparison:
    rows = made.draw(0.1, 0)
    rows = rows[np.isfinite(made.labels[rows, 0])]
    known = made.valid[np.isfinite(made.labels[made.valid, 0])]

    def scikit_learn() -> float:
        scaler = StandardScaler().fit(made.features[rows])
        train, valid = scaler.transform(made.features[rows]), scaler.transform(made.features[known])
        best = 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for strength in STRENGTHS:
                model = LogisticRegression(C=strength, max_iter=1000).fit(train, made.labels[rows, 0])
                best = max(best, float(roc_auc_score(made.labels[known, 0], model.decision_function(valid))))
                model.decision_function(scaler.transform(made.features[made.test]))
        return best

    variants: dict[str, Callable[[], object]] = {
        "scikit-learn LogisticRegression": scikit_learn,
        "eval.readouts.linear": lambda: made.fit(rows, 1),
    }
    return Comparison(
        title="Linear probe of one label",
        work=f"{len(rows):,} x {_FEATURES} features, {len(STRENGTHS)} penalties, the best on {len(known):,} images",
        rate=len(STRENGTHS),
        unit="fits",
        timings=time_variants(variants, turns=turns, device=_CPU),
    )


def _forward(name: str, size: int, *, turns: int) -> Comparison:
    keep_freed_memory()
    frozen = build_encoder(name, size=size).eval()
    trained = copy.deepcopy(frozen).train()
    contiguous = torch.randn(_BATCH, 1, size, size)
    channels_last = contiguous.as_strided(contiguous.shape, (size * size, 1, size, 1))

    def features(network: nn.Module, images: Tensor) -> None:
        with torch.no_grad():
            network(images)

    variants: dict[str, Callable[[], object]] = {
        "frozen, contiguous": lambda: features(frozen, contiguous),
        "frozen, channels-last": lambda: features(frozen, channels_last),
        "frozen, as evaluation does": lambda: features(frozen, in_fastest_format(contiguous, frozen)),
        "forward of a training step": lambda: trained(in_fastest_format(contiguous, trained)),
    }
    if name == "resnet18":  # which can be traced
        folded = fuse(frozen)
        variants["frozen, contiguous, batch norm folded"] = lambda: features(folded, contiguous)
        variants["frozen, channels-last, batch norm folded"] = lambda: features(folded, channels_last)
    return Comparison(
        title=f"Features of a frozen encoder, {name.removeprefix('timm:')}, {size} px",
        work=f"{_BATCH} images in fp32 on {torch.get_num_threads()} threads",
        rate=_BATCH,
        unit="images",
        timings=time_variants(variants, turns=turns, device=_CPU),
    )


def _bootstrap(num_resamples: int, *, turns: int) -> Comparison:
    random = np.random.Generator(np.random.Philox(1))
    labels = (random.random(_IMAGES) < 0.3).astype(np.float64)
    patients = random.integers(0, _PATIENTS, _IMAGES)
    scores = {name: random.normal(size=(1, _IMAGES)) + labels for name in ("random", "pretrained")}
    images_of = [np.flatnonzero(patients == patient) for patient in range(_PATIENTS)]

    def plain_loop() -> None:
        for _ in range(_LOOPED):
            drawn = np.concatenate([images_of[patient] for patient in random.integers(0, _PATIENTS, _PATIENTS)])
            for values in scores.values():
                roc_auc_score(labels[drawn], values[0, drawn])

    variants: dict[str, Callable[[], object]] = {
        "loop of scikit-learn's roc_auc_score": plain_loop,
        "eval.bootstrap": lambda: bootstrap(labels, scores, patients, num_replicates=num_resamples),
    }
    timings = time_variants(variants, turns=turns, device=_CPU)
    share = num_resamples / _LOOPED
    looped = timings["loop of scikit-learn's roc_auc_score"]
    scaled = Timing(
        median=looped.median * share,
        low_quartile=looped.low_quartile * share,
        high_quartile=looped.high_quartile * share,
        speed=1.0,
        turns=looped.turns,
    )
    ours = timings["eval.bootstrap"]
    return Comparison(
        title="Paired bootstrap of AUROC",
        work=f"{num_resamples:,} resamples of {_PATIENTS:,} patients with {_IMAGES:,} images, two models",
        rate=num_resamples,
        unit="resamples",
        timings={
            "loop of scikit-learn's roc_auc_score": scaled,
            "eval.bootstrap": Timing(
                median=ours.median,
                low_quartile=ours.low_quartile,
                high_quartile=ours.high_quartile,
                speed=ours.speed * share,
                turns=ours.turns,
            ),
        },
        remarks=(f"The loop was timed on {_LOOPED} resamples and multiplied.",),
    )
