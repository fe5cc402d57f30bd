"""A dataset whose index alone exists, and results to print, for tests that read no image."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from eval.results import DrawResult, FractionResult, ProbeResult, Start, TestCounts
from eval.stats import Interval
from shards.index import ShardIndex
from shards.schema import FORMAT_VERSION, index_schema, table_from_rows

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
            auroc={"random start": 0.7, "pretrained": 0.8},
            strength={"random start": 0.01, "pretrained": 0.1},
        )

    def interval(estimate: float, spread: float) -> Interval:
        return Interval(estimate=estimate, low=estimate - spread, high=estimate + spread)

    return ProbeResult(
        readout="linear",
        command="python -m eval linear --run runs/a --data data/made --label Finding",
        run="runs/a",
        starts={
            "random start": Start(encoder="resnet18", hash="0" * 16, num_features=512, seed=0),
            "pretrained": Start(encoder="resnet18", hash="1" * 16, num_features=512),
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
