"""Scores of images, what validation makes of them, and what is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from eval.classifier.network import ImageClassifier
from eval.training.images import ImageScorer
from eval.training.scores import Validation, mean_scores, validate
from eval.training.snapshots import Kept
from pipeline.loader import build_loader
from pipeline.views import ViewSpec
from shards.index import ShardIndex
from train.encoders.build import build_encoder
from train.ranks.world import World

ALONE = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def test_validation_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(80, 2)).astype(np.float32)
    labels = (generator.random((80, 2)) < 0.4).astype(np.float32)
    labels[:9, 0] = np.nan
    found = validate(5, labels, scores)
    assert found.aurocs == pytest.approx(
        [roc_auc_score(labels[9:, 0], scores[9:, 0]), roc_auc_score(*np.stack([labels, scores])[:, :, 1])]
    )
    known = np.isfinite(labels)
    assert found.loss == pytest.approx(log_loss(labels[known], expit(scores[known].astype(float))), rel=1e-6)


def test_a_label_of_one_class_is_left_out_of_the_mean() -> None:
    labels = np.array([[1, 1], [0, 1], [0, np.nan]], dtype=np.float32)
    found = validate(1, labels, np.array([[2, 0], [1, 0], [3, 0]], dtype=np.float32))
    assert found.mean == 0.5
    assert np.isnan(found.aurocs[1])
    assert found.rank_for(1) == found.rank
    assert np.isnan(validate(1, labels[:, 1:], np.zeros((3, 1), dtype=np.float32)).mean)


@pytest.mark.parametrize("repeats", [True, False])
def test_scores_are_in_the_order_of_the_index(tiny_dataset: Path, repeats: bool) -> None:
    index = ShardIndex.open(tiny_dataset).where(split="test")
    index = index.take(np.random.default_rng(0).permutation(len(index)))
    views = ViewSpec(size=32, flip=0.5, mean=0.4, std=0.2)
    model = ImageClassifier(build_encoder("resnet18", seed=0), 2, seed=0)
    scorer = ImageScorer(
        index, views, engine="auto", repeats=repeats, precision="fp32", world=ALONE, section="finetune"
    )
    first, second = scorer(model, 2), scorer(model, 2)
    scorer.close()
    assert np.array_equal(first, second)
    with build_loader(index, views.evaluation(), batch_size=1, num_views=1, shuffle="none") as loader, torch.no_grad():
        reference = torch.cat([model.eval()(batch.views[0]) for batch in loader]).numpy()
    assert np.allclose(first, reference, atol=1e-4)


def test_mean_scores_are_of_probabilities() -> None:
    one, other = np.array([0.0, 3.0], dtype=np.float32), np.array([2.0, -1.0], dtype=np.float32)
    assert np.allclose(expit(mean_scores([one, other])), (expit(one) + expit(other)) / 2)
    assert np.isfinite(mean_scores([np.array([200.0, -200.0], dtype=np.float32)])).all()


def test_best_weights_and_averages_are_kept() -> None:
    """Against all checkpoints ranked at the end, label by label."""
    generator = np.random.default_rng(1)
    model = torch.nn.Linear(1, 1)
    kept = Kept(average=3, num_labels=2)
    everything: list[tuple[Validation, np.ndarray, np.ndarray]] = []
    for step in range(1, 13):
        with torch.no_grad():
            model.weight.fill_(step)
        valid, test = (generator.normal(size=(4, 2)).astype(np.float32) for _ in range(2))
        validation = Validation(step=step, aurocs=generator.random(2).round(1).tolist(), loss=step / 100)
        everything.append((validation, valid, test))
        if kept.note(validation, model):
            kept.add_scores(step, valid, test)
        if step == 6:  # as an interruption would
            state, kept = kept.state_dict(), Kept(average=3, num_labels=2)
            kept.load_state_dict(state)
    best = max(everything, key=lambda each: (np.mean(each[0].aurocs), -each[0].step))[0]
    assert kept.best == best
    assert kept.weights["weight"].item() == best.step
    assert kept.num_since_best == 12 - best.step
    for label in range(2):
        top = sorted(everything, key=lambda each: (-each[0].aurocs[label], each[0].step))[:3]
        for found, part in zip(kept.averaged(), (1, 2), strict=True):
            assert np.allclose(expit(found[:, label]), np.mean([expit(each[part][:, label]) for each in top], axis=0))
    assert len(kept.state_dict()["scores"]) <= 6
