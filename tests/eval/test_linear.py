"""The whole linear evaluation on a small packed folder: counts, pairing, repeatability, and bad settings."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.config import LinearConfig
from eval.linear import BASELINE, PRETRAINED, run_linear
from pipeline.views import ViewSpec
from shards.errors import InputError
from train.encoders import build_encoder
from train.export import save_encoder


def config(run: Path, data: Path, **settings) -> LinearConfig:
    common = {
        "label": ("sick",),
        "fraction": (0.1, 1.0),
        "draws": 2,
        "replicates": 200,
        "device": "cpu",
        "random_starts": 2,
    }
    return LinearConfig(**{"run": run, "data": data, **common, **settings})


def test_linear_evaluation_end_to_end(packed: Path, run_folder: Path) -> None:
    (result,) = run_linear(config(run_folder, packed))
    assert (result.dataset, result.label, result.train_split, result.test_split) == ("patches", "sick", "train", "test")
    assert dataclasses.astuple(result.test) == (60, 60, 60, 20)
    small, full = result.fractions
    assert [draw.draw for draw in small.draws] == [0, 1]
    assert [(draw.num_images, draw.num_positives) for draw in full.draws] == [(120, 40)]
    assert all(draw.num_images == 12 or draw.is_extended for draw in small.draws)
    assert full.draws[0].is_cross_validated
    for fraction in result.fractions:
        for start in (BASELINE, PRETRAINED):
            mean = np.mean([draw.auroc[start] for draw in fraction.draws])  # over draws and encoders
            assert fraction.auroc[start].estimate == pytest.approx(mean)
        assert fraction.difference[PRETRAINED].estimate == pytest.approx(
            fraction.auroc[PRETRAINED].estimate - fraction.auroc[BASELINE].estimate
        )
    # A bright patch is plain to any convolution: features must have met their own labels.
    assert full.auroc[PRETRAINED].estimate > 0.95
    assert full.auroc[BASELINE].estimate > 0.95
    assert result.starts[BASELINE].seeds == [0, 1]
    assert len({value for start in result.starts.values() for value in start.hashes}) == 3
    assert all(len(draw.auroc[BASELINE]) == 2 for draw in full.draws)


def test_repeating_gives_the_same_figures_from_the_cache(packed: Path, run_folder: Path) -> None:
    (first,) = run_linear(config(run_folder, packed, fraction=(0.1,)))
    cache = sorted((run_folder / "eval" / "features").iterdir())
    assert len(cache) == 6  # three encoders, two splits
    times = [path.stat().st_mtime_ns for path in cache]
    (second,) = run_linear(config(run_folder, packed, fraction=(0.1,)))
    assert [path.stat().st_mtime_ns for path in cache] == times
    assert second.fractions == first.fractions
    (other,) = run_linear(config(run_folder, packed, fraction=(0.1,), seed=1))
    assert other.fractions != first.fractions


def test_the_same_encoder_as_the_random_start_differs_by_nothing(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, build_encoder("resnet18", seed=0), name="resnet18", views=ViewSpec(size=32))
    (result,) = run_linear(config(path, packed, fraction=(0.2,), random_starts=1))
    assert dataclasses.astuple(result.fractions[0].difference[PRETRAINED]) == (0.0, 0.0, 0.0)


def test_several_labels_share_features(packed: Path, run_folder: Path) -> None:
    sick, well = run_linear(config(run_folder, packed, label=("sick", "well"), fraction=(1.0,)))
    assert (sick.label, well.label) == ("sick", "well")
    assert sick.test.num_positive_studies + well.test.num_positive_studies == 60
    assert len(list((run_folder / "eval" / "features").iterdir())) == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": (0.1, 1.5)}, "--fraction 1.5"),
        ({"fraction": (0.0,)}, "--fraction 0"),
        ({"fraction": ()}, "--fraction: no value"),
        ({"label": ()}, "--label: no value"),
        ({"draws": 0}, "--draws 0"),
        ({"replicates": 10}, "--replicates 10"),
        ({"label": ("Nonsense",)}, "label 'Nonsense'.*known: sick, well"),
        ({"label": ("sick", "well"), "output": Path("a.json")}, "--output a.json"),
        ({"output": Path()}, "--output .: is a folder"),
        ({"test_split": "valid"}, "split 'valid'.*no image"),
        ({"test_split": "train"}, "120 patients are also in the training split"),
        ({"view": "lateral"}, "view 'lateral'"),
        ({"run": Path("nowhere")}, "nowhere"),
        ({"data": Path("nowhere")}, "nowhere"),
    ],
)
def test_bad_settings_are_refused_before_features_are_computed(
    packed: Path, run_folder: Path, settings: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_linear(dataclasses.replace(config(run_folder, packed), **settings))
    assert not (run_folder / "eval").exists()
