"""Fine-tuning and the multimodal classifier on a device without content: whole trainings, watched step by step.

A step is from one batch to the next, that of the images or tokens included; only validations wait for the device.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import eval.training.loop
from eval.finetune.config import FinetuneConfig
from eval.finetune.run import run_finetune
from eval.multimodal.config import MultimodalConfig
from eval.multimodal.run import run_multimodal
from eval.training.feed import Examples, Feed
from eval.training.task import TrainingTask
from pipeline.views import ViewSpec
from shards.index import ShardIndex
from tests.eval.multimodal.conftest import write_texts
from tests.gpu.fake import FakeCuda
from tests.train.methods.conftest import TinyEncoder
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder

STEPS = 4
FINETUNE = FinetuneConfig(
    batch_size=8, max_steps=STEPS, min_steps=STEPS, validations=1, patience=0, checkpoint_every=99, engine="kornia"
)
MULTIMODAL = MultimodalConfig(
    layers=1,
    width=16,
    heads=2,
    vocabulary=120,
    max_tokens=8,
    image_tokens=1,
    batch_size=8,
    max_steps=STEPS,
    min_steps=STEPS,
    validations=1,
    patience=0,
    checkpoint_every=99,
    modality_dropout=0.5,
    engine="kornia",
)


class Watch:
    """Watches the steps of :func:`eval.training.loop.train`; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda, self.num_steps = FakeCuda(), 0
        endless, mean_loss = eval.training.loop._endless, eval.training.loop._mean_loss

        def watched(feed: Feed) -> Iterator[Examples]:
            for examples in endless(feed):
                self.cuda.is_watching = True  # also while the next batch is made
                self.num_steps += 1
                yield examples

        def at_a_validation(*args: Any, **more: Any) -> float:
            self.cuda.is_watching = False
            return mean_loss(*args, **more)

        monkeypatch.setattr(eval.training.loop, "_endless", watched)
        monkeypatch.setattr(eval.training.loop, "_mean_loss", at_a_validation)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def make_start(encoder: nn.Module | None = None) -> LoadedEncoder:
    encoder = encoder or TinyEncoder()
    return LoadedEncoder(encoder=encoder, name="resnet18", views=ViewSpec(size=32, mean=0.4, std=0.2), metadata={})


def make_task(dataset: Path) -> TrainingTask:
    index = ShardIndex.open(dataset)
    train, test = index.where(split="train"), index.where(split="test")
    labels = np.stack([index.labels(label) for label in ("blob", "clear")], axis=1)
    labels[train.rows[3], 1] = np.nan
    return TrainingTask(
        index=index,
        labels=("blob", "clear"),
        fraction=1.0,
        train_rows=train.rows[:40],
        train_labels=labels[train.rows[:40]],
        valid_rows=train.rows[40:],
        valid_labels=labels[train.rows[40:]],
        test_rows=test.rows[:8],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"precision": "bf16", "norm": "trained", "class_weights": "balanced"},
        pytest.param({"precision": "fp32", "norm": "frozen", "engine": "resident"}, marks=pytest.mark.slow),
        pytest.param(
            {"precision": "tf32", "augmentation": "moco_v2", "gradient_clipping": 1.0}, marks=pytest.mark.slow
        ),
    ],
)
def test_no_step_of_fine_tuning_waits(tiny_dataset: Path, more: Any, watch: Watch, tmp_path: Path) -> None:
    with watch.cuda:
        config = dataclasses.replace(FINETUNE, **more)
        result = run_finetune(make_start(), make_task(tiny_dataset), config, tmp_path, device="cuda")
    assert watch.num_steps == STEPS
    assert result.details["device"] == "cuda"
    assert result.details["precision"] == config.precision
    assert not watch.cuda.found


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["both", "image", "text"])
@pytest.mark.parametrize("image_encoder", ["frozen", "trained"])
def test_no_step_of_the_multimodal_classifier_waits(
    packed_with_texts: Path, inputs: Any, image_encoder: Any, watch: Watch, tmp_path: Path
) -> None:
    with watch.cuda:
        result = run_multimodal(
            make_start(build_encoder("resnet18", seed=0)),
            make_task(packed_with_texts),
            dataclasses.replace(MULTIMODAL, image_encoder=image_encoder, precision="bf16"),
            tmp_path / "cell",
            inputs=inputs,
            features=tmp_path / "features",
            device="cuda",
        )
    assert watch.num_steps == STEPS
    assert result.details["device"] == "cuda"
    assert not watch.cuda.found


@pytest.fixture
def packed_with_texts(tiny_dataset: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(tiny_dataset, tmp_path / "texts"))
    words = ["cough and fever", "fall from a ladder", None]
    write_texts(copy, [words[number % 3] for number in range(len(ShardIndex.open(copy)))])
    return copy


def test_a_step_that_waits_is_found(
    tiny_dataset: Path, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else: without the fault it is none."""
    monkeypatch.setattr("eval.training.loop.upload", lambda host, device: host.to(device))
    with watch.cuda:
        run_finetune(make_start(), make_task(tiny_dataset), FINETUNE, tmp_path, device="cuda")
    assert list(watch.cuda.found.values()) == [STEPS]
    assert "an upload blocks" in next(iter(watch.cuda.found))
