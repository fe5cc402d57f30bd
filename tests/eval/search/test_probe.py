from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.search import probe as module
from eval.search.config import SearchConfig
from eval.search.probe import Probe, gain_of
from shards.base.errors import InputError
from shards.index import ShardIndex


def config_of(packed: Path, folder: Path, **fields: Any) -> SearchConfig:
    config = SearchConfig(data=(str(packed),), label=("sick",), recipes=("debug",), images=960, output=folder)
    return replace(config, **fields)


def test_only_training_images_are_read_and_each_is_tested_once(packed: Path, tmp_path: Path) -> None:
    probe = Probe(config_of(packed, tmp_path))
    train = ShardIndex.open(packed).where(split="train")
    assert sorted(probe.index.rows) == sorted(train.rows)
    assert sorted(np.concatenate([part.test.rows for part in probe.parts])) == sorted(train.rows)
    for part in probe.parts:
        assert not set(part.train.column("patient_id")) & set(part.test.column("patient_id"))


def test_probes_learn_from_training_patients_and_are_scored_on_others(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features that hold the label are found, others are not, and the gain is the difference."""
    generator = np.random.default_rng(0)

    def features(folder: Path, encoder: Any, index: ShardIndex, *given: Any, **options: Any) -> Any:
        made = generator.normal(size=(len(index), 4)).astype(np.float32)
        if encoder == "good":
            made[:, 0] += 8 * index.labels("sick")
        return made

    class Start:
        def __init__(self, encoder: str) -> None:
            self.encoders = (self,)
            self.encoder, self.views = encoder, self

        def evaluation(self) -> None:
            return None

    monkeypatch.setattr(module, "cached_features", features)
    monkeypatch.setattr(module, "build_starts", lambda *_, **__: {"run": Start("good"), "random": Start("bad")})
    for fraction in (1.0, 0.3, {"sick": 0.1}):
        run, random = Probe(config_of(packed, tmp_path, fraction=fraction)).aurocs(tmp_path)
        assert run.shape == random.shape == (5, 1)
        assert run.min() > 0.95
        assert 0.3 < random.mean() < 0.7
        gain = gain_of([(run, random)])
        assert gain.mean == pytest.approx(float((run - random).mean()))
        assert gain.error == pytest.approx(float((run - random)[:, 0].std(ddof=1) / 5**0.5))


def test_a_label_of_which_a_fold_would_lack_a_class_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--folds 90: .*patients, but each fold must test one"):
        Probe(config_of(packed, tmp_path, folds=90))


def test_the_gain_of_each_label_stands_beside_the_mean() -> None:
    random = np.full((5, 2), 0.5)
    gain = gain_of([(random + [0.1, 0.0], random), (random + [0.3, 0.2], random)])
    assert gain.of_labels == pytest.approx((0.2, 0.1))
    assert gain.mean == pytest.approx(0.15)
