"""Models of others beside a run, from the command line to the page."""

import sys
from pathlib import Path

import numpy as np
import pytest

from eval.__main__ import main
from eval.inference.config import EmbedConfig
from eval.inference.embed import embedded
from eval.inference.model import load_classifier
from eval.report.evidence import Evidence
from eval.report.page import write_page
from eval.report.tables import text_tables
from eval.results.file import load_comparison
from eval.results.headline import headline
from eval.study.cells import CellKey, load_cell, stored_cells
from pipeline.in_order import outputs_in_order
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.eval.foreign.conftest import dino, network

__all__ = ["dino", "network"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", *map(str, arguments)])
    main()


def shared(data: Path) -> list[object]:
    return ["--data", data, "--label", "sick", "--replicates", 100, "--device", "cpu", "--draws", 1]


def test_beside_a_run(
    packed: Path, run_folder: Path, dino: Path, network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources = [f"hf:{dino}", f"timm:{network}"]
    asked = [*shared(packed), "--fraction", 1, "--output", tmp_path]
    call(monkeypatch, "linear", "--run", run_folder, *asked, "--against", *sources)
    comparison = load_comparison(tmp_path)
    assert list(comparison.starts) == ["tiny-dino", "tiny-net", "pretrained"]
    assert comparison.baseline == "tiny-dino"
    assert [start.encoder for start in comparison.starts.values()] == ["hf:tiny-dino", "timm:tiny-net", "resnet18"]
    assert [comparison.views[name]["size"] for name in comparison.starts] == [28, 32, 32]
    assert [start.is_run for start in comparison.starts.values()] == [False, False, True]
    assert headline(comparison).start == "pretrained"
    text = " ".join(text_tables([comparison]).split())
    assert f"tiny-dino is hf:{dino}: gray in 3 channels of 28 px" in text
    assert "what it was trained on is not known here; where that was images of patches" in text
    page = write_page(tmp_path, with_images=False).read_text()
    assert "gray in 3 channels of 28 px" in page
    evidence = Evidence(tmp_path, comparison, headline(comparison), max_images=20, device="cpu", seed=0)
    assert evidence.features("tiny-dino").shape == (20, 16)
    assert np.isfinite(evidence.features("tiny-net")).all()


def test_fine_tuned_and_in_a_grid_file_without_any_run(
    packed: Path, dino: Path, network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "grid.yaml").write_text(
        f"data: {packed}\nlabel: sick\nstarts: [hf:{dino}, timm:{network}]\nreadout: [few-shot, finetune]\n"
        "fraction: 1\nshots: 2\nreplicates: 100\ndevice: cpu\ndraws: 1\n"
        "finetune: {max_steps: 2, min_steps: 0, validations: 1, layer_decay: 0.5, keep_model: true}\n"
        "linear: {keep_model: true}\n"
    )
    call(monkeypatch, "grid", tmp_path / "grid.yaml")
    for readout, start, amount in (("finetune", "tiny-dino", 1), ("few-shot", "tiny-net", 2)):
        folder = tmp_path / "grid" / "cells" / readout / start / f"{amount}-draw0.run"
        kept = load_classifier(folder)
        cell = load_cell(tmp_path / "grid" / "cells", CellKey.parse(f"{readout}/{start}/{amount}-draw0"))
        assert cell is not None
        index = ShardIndex.open(packed)
        images = index.take(index.positions(cell.test_rows[:8]))
        found = outputs_in_order(kept.network, images, kept.views).values
        np.testing.assert_allclose(found, cell.scores[:8], atol=1e-2)
        assert not (folder / "encoder.safetensors").exists()
        features = embedded(EmbedConfig(model=str(folder), input=(str(packed),), device="cpu", workers=1), None)
        assert features["features"].type.list_size == kept.network.encoder.num_features
    comparison = load_comparison(tmp_path / "grid")
    assert comparison.readouts == ["few-shot", "finetune"]
    assert {key.start for key in stored_cells(tmp_path / "grid" / "cells")} == {"tiny-dino", "tiny-net"}


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        (
            "multimodal",
            ["--inputs", "image"],
            "and fine-tuned readouts, not for multimodal",
        ),
    ],
)
def test_what_they_do_not_do_is_refused(
    packed: Path, run_folder: Path, dino: Path, monkeypatch: pytest.MonkeyPatch, command: str, more: list, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(monkeypatch, command, "--run", run_folder, *shared(packed), "--against", f"hf:{dino}", *more)
