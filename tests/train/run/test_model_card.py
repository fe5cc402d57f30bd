from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shards.index import ShardIndex
from train.ranks.world import World
from train.run.model_card import hardware, model_card
from train.settings.config import PretrainConfig
from train.settings.recipes import recipe

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
LINES: list[dict[str, Any]] = [
    {"step": 50, "epoch": 1.0, "loss": 2.0, "warnings": {"collapse": "collapse at step 50: so it is"}},
    {"step": 100, "epoch": 2.0, "loss": 1.23456, "effective_rank": 100.0},
    {"step": 100, "epoch": 2.0, "knn_auroc/blob": 0.8125, "knn_auroc/clear": None, "knn_time(s)": 2.0},
]


@pytest.fixture(scope="module")
def index(tiny_dataset: Path) -> ShardIndex:
    return ShardIndex.open(tiny_dataset).where(split="train")


@pytest.fixture
def config() -> PretrainConfig:
    made = recipe("debug")
    return replace(made, data=("tiny",), output=Path("run"), run=replace(made.run, epochs=2, seed=7))


def card(config: PretrainConfig, index: ShardIndex, lines: list[dict[str, Any]] = LINES, start: str = "") -> str:
    return model_card(config, index, lines=lines, precision="bf16", world=WORLD, start=start)


def test_says_what_was_trained_on_and_how(config: PretrainConfig, index: ShardIndex) -> None:
    made = card(config, index)
    assert f"| tiny | 64 | 64 | `{index.fingerprints[0]}` |" in made
    assert "Split `train`, views `all`, fraction 1 of the patients." in made
    assert "No label was read." in made
    assert "| changed from recipe debug | `run.epochs 2`, `run.seed 7` |" in made
    assert "| method | moco_v2, batch norm `split` |" in made
    assert "| encoder | resnet18 |" in made
    assert "| start | encoder.weights random |" in made
    assert "| length | step 100, epoch 2 |" in made
    assert "| precision | bf16 |" in made
    assert "Intended use and limits" in made
    assert "Not a medical" in made
    assert "queue_size: 32" in made, "all settings are there"


def test_names_versions_and_hardware(config: PretrainConfig, index: ShardIndex) -> None:
    made = card(config, index)
    software = next(line for line in made.splitlines() if line.startswith("| software"))
    for name in ("Python 3", "moco-cxr ", f"torch {torch.__version__}", "deepspeed ", "nvidia-dali"):
        assert name in software
    assert "cores" in hardware(WORLD)
    assert f"| hardware | {hardware(WORLD)} |" in made


def test_tells_the_results_and_the_warnings(config: PretrainConfig, index: ShardIndex) -> None:
    watched = replace(config, run=replace(config.run, knn_label=("blob", "clear")))
    made = card(watched, index)
    for row in ("| loss | 1.235 |", "| effective_rank | 100 |", "| knn_auroc/blob | 0.8125 |"):
        assert row in made
    assert "| knn_auroc/clear | not finite |" in made
    assert "- collapse at step 50: so it is" in made
    assert "kNN AUROC of blob, clear was watched" in made
    assert "no test result" in made
    assert "No label was read" not in made


def test_a_run_without_warnings_and_changes(index: ShardIndex) -> None:
    plain = replace(recipe("debug"), data=("tiny",), output=Path("run"))
    made = card(plain, index, LINES[1:2], start="a former run")
    assert "Warnings: none." in made
    assert "| changed from recipe debug | nothing |" in made
    assert "| start | a former run |" in made
    assert "| changed from recipe custom | no recipe |" in card(replace(plain, recipe="custom"), index)


def test_datasets_are_told_apart(tiny_dataset: Path, config: PretrainConfig) -> None:
    both = ShardIndex.open(tiny_dataset, tiny_dataset).where(split="test")
    assert card(config, both).count("| tiny | 32 | 32 |") == 2
