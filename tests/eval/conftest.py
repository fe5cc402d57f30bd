"""Material for the tests of evaluation: an index without images, a small packed dataset, a run folder, a comparison."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eval.results.table import Bin, Comparison, Difference, DrawResult, GapRow, Row, StartResult, SubgroupRow
from eval.stats.interval import Interval
from eval.study.studies import TestCounts
from pipeline.views import ViewSpec
from shards.format.schema import FORMAT_VERSION, index_schema, table_from_rows
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder

IndexRow = dict[str, Any]


@pytest.fixture
def make_index(tmp_path: Path) -> Callable[[Sequence[IndexRow]], ShardIndex]:
    """Makes an index of rows that name what matters: patient_id, split, Finding, and the like."""

    def make(rows: Sequence[IndexRow], labels: Sequence[str] = ("Finding",)) -> ShardIndex:
        common = {"dataset": "made", "split": "train", "study_id": "s1", "width": 8, "height": 8, "shard": "a.tar"}
        full = [common | {"key": f"k{i}", "crc32": i, "offset": 0, "length": 1} | row for i, row in enumerate(rows)]
        pq.write_table(table_from_rows(full, index_schema(labels, texts=())), tmp_path / "index.parquet")
        about = {
            "format_version": FORMAT_VERSION,
            "labels": list(labels),
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
def comparison() -> Comparison:
    """A comparison of two fractions: one clear difference, and one whose interval includes zero."""

    def draw(number: int, num_images: int, auroc: list[float], *, is_extended: bool = False) -> DrawResult:
        return DrawResult(
            draw=number,
            num_patients=num_images,
            num_images=num_images,
            num_positives=num_images // 4,
            is_extended=is_extended,
            auroc=auroc,
            details={"strength": 0.01},
        )

    def interval(estimate: float, spread: float) -> Interval:
        return Interval(estimate=estimate, low=estimate - spread, high=estimate + spread)

    def row(start: str, fraction: float, auroc: Interval, difference: Interval | None = None) -> Row:
        each = [0.69, 0.71] if start == "random" else [0.8]
        small = [draw(0, 8, each), draw(1, 12, each, is_extended=True)]
        return Row(
            readout="linear",
            fraction=fraction,
            label="Finding",
            start=start,
            auroc=auroc,
            average_precision=interval(0.4, 0.1),
            sensitivity=interval(0.5, 0.1),
            ece=interval(0.03, 0.01),
            draws=small if fraction < 1 else [draw(0, 1000, each)],
            difference=None
            if difference is None
            else Difference(against="random", auroc=difference, p_value=0.01, p_holm=0.02, p_delong=0.012),
            reliability=[Bin(num_studies=150, mean_probability=0.1, positive_share=0.12)],
        )

    return Comparison(
        command="python -m eval linear --run runs/a --data data/made --label Finding",
        config={"run": "runs/a"},
        data=["data/made"],
        dataset="made",
        datasets=["made"],
        labels=["Finding"],
        starts={
            "random": StartResult(
                encoder="resnet18", sources=["random"], hashes=["0" * 16, "2" * 16], num_features=512, seeds=[0, 1]
            ),
            "pretrained": StartResult(encoder="resnet18", sources=["runs/a"], hashes=["1" * 16], num_features=512),
        },
        baseline="random",
        protocol={
            "name": "clean",
            "by": "patient",
            "uncertain": "ignore",
            "view": "all",
            "train_split": "train",
            "valid_split": None,
            "test_split": "valid",
            "seed": 0,
        },
        test={"Finding": TestCounts(num_images=300, num_studies=200, num_patients=180, num_positive_studies=50)},
        rows=[
            row("random", 0.01, interval(0.7, 0.05)),
            row("pretrained", 0.01, interval(0.8, 0.04), interval(0.1, 0.03)),
            row("random", 1.0, interval(0.9, 0.02)),
            row("pretrained", 1.0, interval(0.89, 0.02), interval(-0.01, 0.02)),
        ],
        subgroups=[
            SubgroupRow(
                readout="linear",
                fraction=1.0,
                label="Finding",
                start="pretrained",
                attribute="sex",
                group="F",
                num_studies=90,
                num_patients=80,
                num_positive_studies=20,
                auroc=interval(0.88, 0.03),
                difference=interval(0.01, 0.03),
                true_positive_rate=interval(0.6, 0.1),
                false_positive_rate=interval(0.12, 0.04),
            ),
            SubgroupRow(
                readout="linear",
                fraction=1.0,
                label="Finding",
                start="pretrained",
                attribute="age",
                group="80+",
                num_studies=12,
                num_patients=12,
                num_positive_studies=3,
                reason="3 positive studies, under 10",
            ),
        ],
        gaps=[
            GapRow(
                readout="linear",
                fraction=1.0,
                label="Finding",
                start="pretrained",
                attribute="sex",
                rate="true positive",
                worst="M",
                best="F",
                size=interval(0.25, 0.3),
            )
        ],
        level=0.95,
        specificity=0.9,
        num_replicates=1000,
        num_dropped={"Finding": 3},
        seed=0,
        views={"random": {"size": 64}, "pretrained": {"size": 64}},
        versions={"python": "3.11"},
        seconds={"cells": 1.0, "statistics": 2.0},
    )
