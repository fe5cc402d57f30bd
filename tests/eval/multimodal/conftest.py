"""Trainings on a small dataset where the label is told by image and text together, and by neither."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from eval.multimodal.config import MultimodalConfig
from eval.multimodal.run import run_multimodal
from eval.readouts.registry import Inputs
from eval.training.task import Trained, TrainingTask
from pipeline.views import ViewSpec
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from tests.shards.sealed import seal
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder

SIZES = {"train": 160, "valid": 60, "test": 100}
SHORT = MultimodalConfig(
    layers=1,
    width=16,
    heads=2,
    vocabulary=120,
    max_tokens=8,
    image_tokens=4,
    batch_size=16,
    lr=5e-3,
    min_steps=6,
    max_steps=6,
    validations=3,
    patience=0,
    precision="fp32",
    checkpoint_every=2,
)


class Brightness(nn.Module):
    """A map of mean brightness: what a frozen encoder may see."""

    num_features = 4
    feature_info = ({"module": "layer4", "num_chs": 4},)

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.AvgPool2d(6, 6)
        self.layer3 = nn.Conv2d(1, 4, 1)
        with torch.no_grad():
            self.layer3.weight.copy_(torch.tensor([1.0, -1.0, 0.5, 2.0]).reshape(4, 1, 1, 1))
            self.layer3.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer4(self.layer3(images)).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def start() -> LoadedEncoder:
    return LoadedEncoder(encoder=Brightness(), name="tiny", views=ViewSpec(size=24, mean=0.4, std=0.2), metadata={})


@pytest.fixture(scope="module")
def resnet() -> LoadedEncoder:
    views = ViewSpec(size=32, mean=0.4, std=0.2)
    return LoadedEncoder(encoder=build_encoder("resnet18", seed=0), name="resnet18", views=views, metadata={})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed images, half of them with a bright corner; an indication that says ``cough`` or ``fall``."""
    root = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    for split, count in SIZES.items():
        for number in range(count):
            name = "bright" if number % 2 else "dark"
            pixels = random.integers(60, 120, size=(24, 24))
            pixels[:12, :12] += 60 * (name == "bright")
            path = root / "source" / split / name / f"{split}{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    output = root / "pairs"
    build_dataset(BuildConfig(source="folder", input=root / "source", output=output, format="png", workers=1))
    count = len(ShardIndex.open(output))
    words = [f"___ year old with {random.choice(['cough', 'fall'])}" for _ in range(count)]
    write_texts(output, [None if number % 29 == 0 else text for number, text in enumerate(words)])
    return output


def write_texts(dataset: Path, texts: list[str | None]) -> None:
    table = pq.read_table(dataset / "index.parquet")
    column = pa.array(texts, pa.string())
    if "indication" in table.column_names:
        table = table.set_column(table.column_names.index("indication"), "indication", column)
    else:
        table = table.append_column("indication", column)
    pq.write_table(table, dataset / "index.parquet")
    seal(dataset)


def copied(dataset: Path, folder: Path) -> Path:
    return Path(shutil.copytree(dataset, folder))


def make_task(dataset: Path, index: ShardIndex | None = None) -> TrainingTask:
    """``both`` is bright and cough, ``either`` its opposite; the truth is that of ``dataset``'s own texts."""
    truth = ShardIndex.open(dataset)
    has_cough = np.array(["cough" in (text or "") for text in truth.column("indication")])
    both = (truth.labels("bright") == 1) & has_cough
    labels = np.stack([both, ~both], axis=1).astype(np.float32)
    rows = {split: truth.where(split=split).rows for split in SIZES}
    task = TrainingTask(
        index=index or truth,
        labels=("both", "either"),
        fraction=1.0,
        train_rows=rows["train"],
        train_labels=labels[rows["train"]],
        valid_rows=rows["valid"],
        valid_labels=labels[rows["valid"]],
        test_rows=rows["test"],
    )
    task.train_labels[3, 1] = np.nan
    return task


@pytest.fixture(scope="module")
def task(dataset: Path) -> TrainingTask:
    return make_task(dataset)


@pytest.fixture(scope="module")
def truth(dataset: Path, task: TrainingTask) -> np.ndarray:
    texts = np.array(["cough" in (text or "") for text in task.index.column("indication")])
    return ((task.index.labels("bright") == 1) & texts)[task.test_rows].astype(np.float32)


Run = Callable[..., Trained]


@pytest.fixture
def run(start: LoadedEncoder, task: TrainingTask, tmp_path: Path) -> Run:
    def go(config: MultimodalConfig = SHORT, *, inputs: Inputs = "both", name: str = "cell", **more: Any) -> Trained:
        given: dict[str, Any] = {"task": task, "start": None if inputs == "text" else start, "device": "cpu"} | more
        return run_multimodal(
            given.pop("start"),
            given.pop("task"),
            config,
            tmp_path / name,
            inputs=inputs,
            features=tmp_path / "features",
            **given,
        )

    return go
