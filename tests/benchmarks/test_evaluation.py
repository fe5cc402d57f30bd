"""The evaluation's benchmark at a small size: it ends, and says what it measured."""

import pytest

from benchmarks.evaluation import run
from benchmarks.settings import EvaluationConfig


@pytest.mark.slow
def test_the_quick_form() -> None:
    sweep, *comparisons = run(EvaluationConfig(quick=True, images=20_000, turns=1))
    assert sweep.startswith("sweep of 1,000 x 512 features, 1 label(s), 6 penalties")
    probe, paired, features = comparisons
    assert probe.speedup("eval.readouts.linear", "scikit-learn LogisticRegression") > 0
    assert paired.work.startswith("1,000 resamples of 15,000 patients with 25,000 images")
    assert paired.speedup("eval.bootstrap", "loop of scikit-learn's roc_auc_score") > 1
    assert features.title == "Features of a frozen encoder, resnet18, 64 px"
    assert {"frozen, as evaluation does", "forward of a training step"} < set(features.timings)
