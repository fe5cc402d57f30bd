"""An encoder goes to a stand-in of the hub and comes back, for timm and for moco-cxr, with the features it had."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image

from pipeline.views import ViewSpec
from shards.base.errors import InputError
from tests.train.export.hub import TOKEN, serving
from train.__main__ import main
from train.encoders.build import build_encoder
from train.encoders.file import is_ours
from train.encoders.saved import load_encoder, save_encoder
from train.encoders.starts.hub import download
from train.encoders.weights import read_start

GRAY = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
VIEWS = ViewSpec(size=64, mean=0.4, std=0.25)


OTHERS = ("densenet121", "vit_small", "vit_small_moco_v3", "timm:convnext_atto", "timm:vit_tiny_patch16_224")


def run_folder(folder: Path, name: str = "resnet18") -> Path:
    """A run, of which a path is in the header and in the card."""
    folder.mkdir()
    config = {"data": ["/hospital/archive"], "method": {"name": "moco_v2"}}
    trained_on = {"chexpert": ["train"]}
    encoder = build_encoder(name, seed=4, size=VIEWS.size)
    file = folder / "encoder.safetensors"
    save_encoder(file, encoder, name=name, views=VIEWS, step=8, config=config, trained_on=trained_on)
    (folder / "model_card.md").write_text(
        "# title\n\n## Data\n\n500 images\n\n## Training\n\n"
        "start: encoder.weights /hospital/archive/old.pth: 3 tensors\n\n## Settings\n\ndata: /hospital/archive\n"
    )
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "export", *map(str, arguments)])
    main()


def features(run: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_encoder(run).encoder(GRAY)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS),
    ],
)
def test_timm_loads_the_folder_with_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    run, folder = run_folder(tmp_path / "run", name), tmp_path / "model"
    for _ in range(2):  # over itself
        call(monkeypatch, "--run", run, "--format", "hub", "--output", folder)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(GRAY), features(run), rtol=1e-3, atol=1e-4)
    data = timm.data.resolve_model_data_config(model)
    assert (data["input_size"], *data["mean"], *data["std"], data["crop_pct"]) == ((1, 64, 64), 0.4, 0.25, 1.0)
    assert timm.data.resolve_model_data_config(model, use_test_size=True)["input_size"] == (1, 64, 64)
    views = timm.data.create_transform(**data)(Image.new("L", (80, 64), 51))
    torch.testing.assert_close(views, torch.full((1, 64, 64), (0.2 - 0.4) / 0.25))
    assert not {
        "license",
        "origin_url",
        "paper_ids",
        "url",
    } & model.pretrained_cfg.keys() or not model.pretrained_cfg.get("license")
    assert "/hospital" not in "".join(path.read_bytes().decode("latin-1") for path in folder.iterdir())


def test_an_encoder_is_pushed_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_folder(tmp_path / "run")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # the stand-in knows LFS
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for _ in range(2):
            call(monkeypatch, "--run", run, "--push-to-hub", "ward/cxr", "--license", "cc-by-nc-4.0")
        assert f"pushed: {hub.endpoint}/ward/cxr; load it with" in capsys.readouterr().out
        (made,) = hub.made
        assert made["visibility"] == "private"
        files = hub.files["ward/cxr"]
        assert files.keys() == {"README.md", "config.json", "model.safetensors"}
        _, head, body = files["README.md"].decode().split("---\n", 2)
        said = yaml.safe_load(head)
        assert (said["library_name"], said["pipeline_tag"]) == ("timm", "image-feature-extraction")
        assert said["license"] == "cc-by-nc-4.0"
        assert "moco_v2" in said["tags"]
        assert '"hf-hub:ward/cxr"' in body
        assert "500 images" in body
        assert "encoder.weights old.pth: 3 tensors" in body
        assert json.loads(files["config.json"])["architecture"] == "resnet18"

        folder = download("hub:ward/cxr")
        torch.testing.assert_close(features(folder), features(run), rtol=0, atol=0)
        assert load_encoder(folder).metadata["trained_on"] == {"chexpert": ["train"]}
        assert is_ours(folder)
        start = read_start("hf-hub:ward/cxr", "resnet18")
        assert start is not None
        assert start.format == "former run"
        with pytest.raises(InputError, match="hub:ward/none: could not be had"):
            download("hub:ward/none")
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        with pytest.raises(InputError, match=r"--push-to-hub ward/new: .*401.*log in.* and check the network$"):
            call(monkeypatch, "--run", run, "--push-to-hub", "ward/new")
    assert (features(download("hub:ward/cxr")) == features(run)).all()  # the server is gone


def test_refuses_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, output = run_folder(tmp_path / "run"), tmp_path / "out"
    for message, arguments in (
        ("--push-to-hub cxr: .*give USER/NAME", ["--push-to-hub", "cxr"]),
        ("--push-to-hub a/b/c: .*give USER/NAME", ["--push-to-hub", "a/b/c"]),
        ("--push-to-hub a/b: uploads --format hub", ["--push-to-hub", "a/b", "--format", "onnx", "--output", output]),
        ("--format: not given", ["--output", output]),
        ("--output: not given", ["--format", "timm"]),
        ("holds something else than an export", ["--format", "hub", "--output", run]),
        ("is a file; name a folder", ["--format", "hub", "--output", run / "model_card.md"]),
    ):
        with pytest.raises(InputError, match=message):
            call(monkeypatch, "--run", run, *arguments)
    group = tmp_path / "group.safetensors"
    save_encoder(group, build_encoder("resnet18", norm="group"), name="resnet18", views=VIEWS, norm="group")
    with pytest.raises(InputError, match="--format hub: this encoder has group norm"):
        call(monkeypatch, "--run", group, "--format", "hub", "--output", output)
    with pytest.raises(InputError, match="names no model of the hub"):
        download("hub:cxr")
    assert not output.exists()
