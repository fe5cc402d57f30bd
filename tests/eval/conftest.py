"""Material for the tests of evaluation: an index without images, a small packed dataset, a run folder, a result."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eval.results import DrawResult, FractionResult, ProbeResult, Start, TestCounts
from eval.stats import Interval
from pipeline.views import ViewSpec
from shards.build import BuildConfig, build_dataset
from shards.index import ShardIndex
from shards.schema import FORMAT_VERSION, index_schema, table_from_rows
from train.encoders import build_encoder
from train.export import save_encoder

Row = dict[str, Any]


@pytest.fixture
def make_index(tmp_path: Path) -> Callable[[Sequence[Row]], ShardIndex]:
    """Makes an index of rows that name what matters: patient_id, split, Finding, and the like."""

    def make(rows: Sequence[Row]) -> ShardIndex:
        common = {"dataset": "made", "split": "train", "study_id": "s1", "width": 8, "height": 8, "shard": "a.tar"}
        full = [common | {"key": f"k{i}", "crc32": i, "offset": 0, "length": 1} | row for i, row in enumerate(rows)]
        pq.write_table(table_from_rows(full, index_schema(["Finding"], texts=())), tmp_path / "index.parquet")
        about = {
            "format_version": FORMAT_VERSION,
            "labels": ["Finding"],
            "fingerprint": "made",
            "image": {"format": "jpeg"},
        }
        (tmp_path / "dataset.json").write_text(json.dumps(about))
        return ShardIndex.open(tmp_path)

    return make


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed folder of 120 training and 60 test images; the sick ones have a bright patch."""
    root = tmp_path_factory.mktemp("eval")
    generator = np.random.default_rng(0)
    for split, num_images in (("train", 120), ("test", 60)):
        for number in range(num_images):
            name = "sick" if number % 3 == 0 else "well"
            pixels = generator.integers(60, 120, size=(32, 40))
            if name == "sick":
                pixels[8:20, 8:20] += 80
            path = root / "source" / split / name / f"{split}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    build_dataset(BuildConfig(source="folder", input=root / "source", output=root / "patches", format="png", workers=1))
    return root / "patches"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run folder with an encoder that nothing has trained."""
    folder = tmp_path / "run"
    folder.mkdir()
    encoder = build_encoder("resnet18", seed=7)
    save_encoder(folder / "encoder.safetensors", encoder, name="resnet18", views=ViewSpec(size=32, mean=0.4, std=0.2))
    return folder


@pytest.fixture
def result() -> ProbeResult:
    """A result of two fractions: one clear difference, and one whose interval includes zero."""

    def draw(number: int, num_images: int, *, is_extended: bool = False) -> DrawResult:
        return DrawResult(
            draw=number,
            num_patients=num_images,
            num_images=num_images,
            num_positives=num_images // 4,
            is_extended=is_extended,
            is_cross_validated=not is_extended,
            auroc={"random start": [0.69, 0.71], "pretrained": [0.8]},
            strength={"random start": [0.01, 0.01], "pretrained": [0.1]},
        )

    def interval(estimate: float, spread: float) -> Interval:
        return Interval(estimate=estimate, low=estimate - spread, high=estimate + spread)

    return ProbeResult(
        readout="linear",
        command="python -m eval linear --run runs/a --data data/made --label Finding",
        run="runs/a",
        starts={
            "random start": Start(encoder="resnet18", hashes=["0" * 16, "2" * 16], num_features=512, seeds=[0, 1]),
            "pretrained": Start(encoder="resnet18", hashes=["1" * 16], num_features=512),
        },
        baseline="random start",
        dataset="made",
        datasets=["made"],
        fingerprints={"train": "a", "test": "b"},
        label="Finding",
        uncertain="ignore",
        view="all",
        train_split="train",
        test_split="valid",
        test=TestCounts(num_images=300, num_studies=200, num_patients=180, num_positive_studies=50),
        fractions=[
            FractionResult(
                fraction=0.01,
                draws=[draw(0, 8), draw(1, 12, is_extended=True)],
                auroc={"random start": interval(0.7, 0.05), "pretrained": interval(0.8, 0.04)},
                difference={"pretrained": interval(0.1, 0.03)},
            ),
            FractionResult(
                fraction=1.0,
                draws=[draw(0, 1000)],
                auroc={"random start": interval(0.9, 0.02), "pretrained": interval(0.89, 0.02)},
                difference={"pretrained": interval(-0.01, 0.02)},
            ),
        ],
        seed=0,
        level=0.95,
        num_replicates=1000,
        num_dropped=3,
        views={"size": 64},
        versions={"python": "3.11"},
        seconds={"features": 1.0, "probes": 2.0},
    )
