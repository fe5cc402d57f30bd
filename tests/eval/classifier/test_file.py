"""A classifier's folder: what comes back, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from eval.classifier.calibration import calibrate
from eval.classifier.file import load_image_classifier, save_classifier
from eval.classifier.network import ImageClassifier
from eval.study.layers import LayerFeatures
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.images.store import ImageSpec
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder, load_encoder

VIEWS = ViewSpec(size=32, flip=0.5, mean=0.4, std=0.2)
IMAGE = ImageSpec(size=48, format="png")
IMAGES = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def save(folder: Path, *, layers: tuple[int, ...] = (), seed: int = 3) -> ImageClassifier:
    start = LoadedEncoder(encoder=build_encoder("resnet18", seed=seed), name="resnet18", views=VIEWS, metadata={})
    encoder = LayerFeatures(start.encoder, layers, name="resnet18") if layers else start.encoder
    network = ImageClassifier(encoder, 2, seed=1).eval()
    logits = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    save_classifier(
        folder,
        network,
        start,
        readout="linear" if layers else "finetune",
        labels=("Edema", "Fracture"),
        image=IMAGE,
        calibration=calibrate(logits, (logits > 0.3).astype(np.float32), [0.0, 0.5]),
        trained={"datasets": ["made"]},
        layers=layers,
    )
    return network


@pytest.mark.parametrize("layers", [(), (2, 4)])
def test_what_was_saved_comes_back(tmp_path: Path, layers: tuple[int, ...]) -> None:
    network = save(tmp_path, layers=layers)
    kept = load_image_classifier(tmp_path)
    assert torch.equal(kept.network(IMAGES), network(IMAGES))
    assert (kept.labels, kept.image, kept.views) == (("Edema", "Fracture"), IMAGE, VIEWS.evaluation())
    assert kept.encoder is not None
    assert (kept.encoder.layers, kept.trained) == (layers, {"datasets": ["made"]})
    assert kept.calibration.shifts == (0.0, 0.5)
    assert None not in kept.calibration.temperatures
    assert kept.calibration.logits.shape == (40, 2)
    assert load_encoder(tmp_path).views == VIEWS  # the folder is a start as well


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "one")
    save(tmp_path / "other", seed=4)
    (tmp_path / "one" / "encoder.safetensors").write_bytes((tmp_path / "other" / "encoder.safetensors").read_bytes())
    with pytest.raises(InputError, match="is not the encoder that the classifier was trained on"):
        load_image_classifier(tmp_path / "one")
    data = bytearray((tmp_path / "other" / "head.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "other" / "head.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="was changed since it was written"):
        load_image_classifier(tmp_path / "other")
    (tmp_path / "one" / "head.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no head\.safetensors; keep a classifier by .*--finetune\.keep-model"):
        load_image_classifier(tmp_path / "one")
