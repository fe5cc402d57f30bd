"""A classifier for other software gives what it gives here, and says what goes in and what comes out."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from eval.__main__ import main
from eval.inference.model import load_classifier
from shards.base.errors import InputError
from tests.eval.classifier.test_file import IMAGES, save
from train.encoders.file import is_ours
from train.encoders.saved import load_encoder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "export", *map(str, arguments)])
    main()


def wanted(folder: Path) -> list[np.ndarray]:
    """Logits and probabilities of the images."""
    kept = load_classifier(folder)
    logits = kept.network(IMAGES).numpy()
    return [logits, kept.calibration.probabilities(logits)]


def check_about(about: dict[str, str], folder: Path) -> None:
    kept = load_classifier(folder)
    assert (about["size"], about["mean"], about["std"], about["channels"], about["range"]) == (
        "32",
        "0.4",
        "0.2",
        "1",
        "0 1",
    )
    assert json.loads(about["labels"]) == ["Edema", "Fracture"]
    assert json.loads(about["shifts"]) == [0.0, 0.5]
    assert json.loads(about["temperatures"]) == pytest.approx(kept.calibration.temperatures)
    assert json.loads(about["stored"])["size"] == 48


@pytest.mark.slow
def test_onnx_gives_logits_and_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    save(tmp_path / "kept")
    call(monkeypatch, "--model", tmp_path / "kept", "--format", "onnx", "--output", tmp_path / "out" / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(["logits", "probabilities"], {"views": IMAGES.numpy()})
    for value, expected in zip(found, wanted(tmp_path / "kept"), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)
    check_about(session.get_modelmeta().custom_metadata_map, tmp_path / "kept")


@pytest.mark.slow
@pytest.mark.parametrize("layers", [(), pytest.param((2, 4), marks=pytest.mark.slow)])
def test_a_program_gives_logits_and_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[int, ...]
) -> None:
    save(tmp_path / "kept", layers=layers)
    call(monkeypatch, "--model", tmp_path / "kept", "--format", "pt2", "--output", tmp_path / "model.pt2")
    about = {"about.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=about)
    for value, expected in zip(program.module()(IMAGES[:1]), wanted(tmp_path / "kept"), strict=True):
        np.testing.assert_allclose(value, expected[:1], rtol=1e-3, atol=1e-4)
    check_about(json.loads(about["about.json"]), tmp_path / "kept")


def test_a_folder_for_the_hub_is_timms_and_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "model"
    save(kept)
    call(monkeypatch, "--model", kept, "--format", "hub", "--output", folder)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        np.testing.assert_allclose(model(IMAGES), wanted(kept)[0], rtol=1e-3, atol=1e-4)
    assert model.pretrained_cfg["label_names"] == ["Edema", "Fracture"]
    data = timm.data.resolve_model_data_config(model)
    assert (data["input_size"], *data["mean"], *data["std"]) == ((1, 32, 32), 0.4, 0.2)
    for value, expected in zip(wanted(folder), wanted(kept), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert "pipeline_tag: image-classification" in (folder / "README.md").read_text()
    assert is_ours(folder), "a start as well"
    assert "seen" in load_encoder(folder).metadata, "that says what it was trained on,"
    assert not (folder / "seen.safetensors").exists(), "if not by which images"


def test_what_no_format_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "kept", layers=(2, 4))
    for message, arguments in (
        (
            "reads several layers, which timm cannot load; use onnx or pt2",
            ["--format", "hub", "--output", tmp_path / "a"],
        ),
        ("lies in the folder of the classifier", ["--format", "onnx", "--output", tmp_path / "kept" / "head.onnx"]),
        ("--format: not given", []),
        ("--push-to-hub cxr: .*USER/NAME", ["--push-to-hub", "cxr"]),
    ):
        with pytest.raises(InputError, match=message):
            call(monkeypatch, "--model", tmp_path / "kept", *arguments)
    with pytest.raises(InputError, match="--model .*none: no such file"):
        call(monkeypatch, "--model", tmp_path / "none", "--format", "onnx", "--output", tmp_path / "a.onnx")
