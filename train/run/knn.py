"""How well an encoder's neighbours agree on a label, while it is trained: weighted k-nearest-neighbour AUROC.

    --run.knn-label "Pleural Effusion" Edema --run.knn-every 5

Half of the selection's labelled patients are the bank, the other half are scored; both were pretrained on, without
their labels, and neither comes from a test split. So the curve says whether a run still improves, and which of two runs
does better; it is no estimate of a test result. The labels go nowhere else: what is learnt is the same without it.

Legend: N rows of the bank, Q rows that are scored.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from pipeline.in_order import Outputs, outputs_in_order
from shards.base.errors import InputError
from shards.base.randomness import generator
from shards.index import ShardIndex
from train.encoders.neighbours import TEMPERATURE, knn_scores
from train.engine.precision import autocast
from train.ranks.world import World
from train.settings.config import PretrainConfig

Positions = npt.NDArray[np.int64]


def split_patients(patients: Positions, *, limit: int, seed: int) -> tuple[Positions, Positions]:
    """Positions of a bank's rows and of the rows to score, of at most ``limit`` rows each and with no patient in both.

    Args:
        patients: a number for each row's patient, (N,).
        limit: patients are taken whole, in random order, until the next one would go beyond it; but always one.
        seed: of the order.
    """
    names, owner, counts = np.unique(patients, return_inverse=True, return_counts=True)
    order = generator("knn", seed).permutation(len(names))
    half = (len(names) + 1) // 2
    sides = []
    for side in (order[:half], order[half:]):
        fits = np.cumsum(counts[side]) <= limit
        fits[:1] = True
        sides.append(np.flatnonzero(np.isin(owner, side[fits])))
    return sides[0], sides[1]


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The images that kNN AUROC is taken over, and how. Built at the door by :func:`build_neighbours`.

    ``index``: the bank's images, then those to score; ``labels``: (N + Q,) each, NaN where unknown; ``every``: epochs
    between measurements.
    """

    config: PretrainConfig
    index: ShardIndex
    labels: dict[str, npt.NDArray[np.float32]]
    num_bank: int
    every: int
    device: torch.device

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """AUROC of each label by its name in ``metrics.jsonl``; NaN where features are not finite.

        The encoder learns nothing from these images (:func:`pipeline.in_order.outputs_in_order`). Takes one forward
        pass of at most twice ``run.knn_images`` images.
        """
        settings = self.config.loader
        with autocast(self.config.run.precision, self.device):
            outputs = outputs_in_order(
                encoder,
                self.index,
                self.config.views,
                device=self.device,
                num_threads=settings.threads or None,
                on_damage=settings.on_damage,
                checksums=settings.checksums,
            )
        return {f"knn_auroc/{name}": self._auroc(outputs, values) for name, values in self.labels.items()}

    def _auroc(self, outputs: Outputs, values: npt.NDArray[np.float32]) -> float:
        features, labels = outputs.values, torch.from_numpy(values)
        known = ~labels.isnan() & outputs.has_come
        bank, queries = known.clone(), known.clone()
        bank[self.num_bank :], queries[: self.num_bank] = False, False
        truth = labels[queries].numpy()
        if len(np.unique(truth)) < 2 or not features.isfinite().all():
            return float("nan")
        scores = knn_scores(
            features[queries].to(self.device),
            features[bank].to(self.device),
            labels[bank].to(self.device),
            num_neighbours=self.config.run.knn_neighbours,
            temperature=TEMPERATURE,
        )
        return float(roc_auc_score(truth, scores.double().cpu().numpy()))


def build_neighbours(config: PretrainConfig, index: ShardIndex, world: World) -> Neighbours | None:
    """What ``run.knn_label`` asks for, of the images that are trained on; None where it asks for nothing.

    Raises:
        InputError: an unknown label, or one that does not tell the patients apart.
    """
    run = config.run
    if not run.knn_label or not run.knn_every:
        return None
    for name in run.knn_label:
        if name not in index.label_names:
            known = ", ".join(index.label_names) or "none"
            raise InputError(f"run.knn_label {name!r}: not a label of the data; its labels are: {known}")
    if config.selection.split == "all":
        # All splits are trained on, the test images too, whose labels are not to be looked at while training.
        index = index.where(split="train").require_rows("run.knn_label with selection.split all: split train")
    known = np.any([~np.isnan(index.labels(name)) for name in run.knn_label], axis=0)
    labelled = index.take(known).require_rows(f"run.knn_label {', '.join(run.knn_label)}")
    bank, scored = split_patients(labelled.patients(), limit=run.knn_images, seed=run.seed)
    chosen = labelled.take(np.concatenate([bank, scored]))
    labels = {name: chosen.labels(name) for name in run.knn_label}
    for name, values in labels.items():
        for side in (values[: len(bank)], values[len(bank) :]):
            if not {0.0, 1.0} <= set(side.tolist()):
                raise InputError(
                    f"run.knn_label {name!r}: of {len(bank)} + {len(scored)} images of separate patients, one part has "
                    "no positive or no negative; raise run.knn_images, or choose a more frequent label"
                )
    return Neighbours(
        config=config, index=chosen, labels=labels, num_bank=len(bank), every=run.knn_every, device=world.device
    )
