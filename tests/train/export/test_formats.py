"""Each form is loaded by the software it is for, and gives the features of our own encoder."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.views import ViewSpec
from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder
from train.export.formats import export_encoder
from train.settings.architectures import ENCODERS

INPUT = {"size": "64", "channels": "1", "range": "0 1", "mean": "0.5", "std": "0.25"}
INPUT |= {"crop": "center", "interpolation": "bilinear"}
STORED = {"size": 72, "square": False, "format": "jpeg", "quality": 95}
INPUT |= {"stored": json.dumps(STORED)}
GRAY = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(2))


@functools.cache
def trained(name: str, norm: str = "batch", size: int = 64) -> LoadedEncoder:
    """An encoder whose running statistics are not those of a start."""
    encoder = build_encoder(name, seed=4, norm=norm)
    with torch.no_grad():
        encoder(torch.randn(4, 1, 64, 64))
    views = ViewSpec(size=size, mean=0.5, std=0.25)
    return LoadedEncoder(encoder=encoder.eval(), name=name, views=views, metadata={"norm": norm, "image": STORED})


def assert_same_features(name: str, features: Tensor) -> None:
    with torch.no_grad():
        expected = trained(name).encoder(GRAY)
    assert expected.std() > 1e-3
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


def run_usage(usage: str) -> nn.Module:
    """What the printed code makes."""
    names: dict[str, object] = {"torch": torch, "torchvision": torchvision, "timm": timm}
    exec(f"import safetensors.torch\n{usage}", names)
    model = names["model"]
    assert isinstance(model, nn.Module)
    return model.eval()


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_plain_torchvision_gives_the_same_on_three_equal_channels(tmp_path: Path, name: str) -> None:
    export_encoder(trained(name), tmp_path / "new" / "encoder.pth", format="torchvision")
    plain = torchvision.models.get_model(name)
    plain.set_submodule(ENCODERS[name].heads[0], nn.Identity())
    plain.load_state_dict(torch.load(tmp_path / "new" / "encoder.pth", weights_only=True), strict=True)
    with torch.no_grad():
        assert_same_features(name, plain.eval()(GRAY.expand(-1, 3, -1, -1)))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["encoder.pth"]


@pytest.mark.parametrize(
    ("name", "model", "options"),
    [
        ("resnet18", "resnet18", {}),
        ("densenet121", "densenet121", {}),
        ("vit_small", "vit_small_patch16_224", {"dynamic_img_size": True}),
        ("vit_small_moco_v3", "vit_small_patch16_224", {"dynamic_img_size": True, "num_heads": 12}),
    ],
)
def test_plain_timm_gives_the_same(tmp_path: Path, name: str, model: str, options: dict[str, int]) -> None:
    file = tmp_path / "encoder.safetensors"
    export_encoder(trained(name), file, format="timm")
    plain = timm.create_model(model, in_chans=1, num_classes=0, **options)
    plain.load_state_dict(load_file(file), strict=True)
    with torch.no_grad():
        assert_same_features(name, plain.eval()(GRAY))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_printed_code_loads_the_file(tmp_path: Path, suffix: str) -> None:
    name = "resnet18"
    with torch.no_grad():
        exported = export_encoder(trained(name), tmp_path / f"tv.{suffix}", format="torchvision")
        assert exported.size == (tmp_path / f"tv.{suffix}").stat().st_size
        assert_same_features(name, run_usage(exported.usage)(GRAY.expand(-1, 3, -1, -1)))
        exported = export_encoder(trained(name), tmp_path / f"timm.{suffix}", format="timm")
        assert_same_features(name, run_usage(exported.usage)(GRAY))


def test_printed_code_sets_the_options_of_vits(tmp_path: Path) -> None:
    name = "vit_small_moco_v3"
    usage = export_encoder(trained(name), tmp_path / "vit.pth", format="timm").usage
    with torch.no_grad():
        assert_same_features(name, run_usage(usage)(GRAY))
    assert "dynamic" not in export_encoder(trained(name, size=224), tmp_path / "vit.pth", format="timm").usage


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "vit_small", "vit_small_moco_v3")),
    ],
)
def test_onnx_gives_the_same_for_any_batch(tmp_path: Path, name: str) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    export_encoder(trained(name), tmp_path / "encoder.onnx", format="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"views": GRAY.numpy()})
    assert_same_features(name, torch.from_numpy(features))
    (alone,) = session.run(["features"], {"views": GRAY[:1].numpy()})
    np.testing.assert_allclose(alone, features[:1], rtol=1e-3, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert about == {"encoder": name, **INPUT}
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]


@pytest.mark.slow  # the program of a classifier is among the fast tests
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_small", "vit_small_moco_v3"])
def test_a_program_gives_the_same_for_any_batch(tmp_path: Path, name: str) -> None:
    usage = export_encoder(trained(name), tmp_path / "encoder.pt2", format="pt2").usage
    found: dict[str, Tensor] = {}
    exec(usage, {"torch": torch, "views": GRAY}, found)
    with torch.no_grad():
        assert_same_features(name, found["features"])
    about = {"about.json": ""}
    torch.export.load(tmp_path / "encoder.pt2", extra_files=about)
    assert json.loads(about["about.json"]) == {"encoder": name, **INPUT}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(("format", "channels"), [("timm", "1"), ("torchvision", "3")])
def test_every_state_dict_says_its_input(tmp_path: Path, format: str, channels: str, suffix: str) -> None:
    file = tmp_path / f"encoder.{suffix}"
    usage = export_encoder(trained("resnet18"), file, format=format).usage  # type: ignore[arg-type]
    if suffix == "pth":
        about = torch.load(file, weights_only=True)._metadata[""]
    else:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata()
            assert about.pop("format") == "pt"
    assert about == {"encoder": "resnet18", **INPUT, "channels": channels}
    if format == "timm":
        data = timm.data.resolve_model_data_config(run_usage(usage), use_test_size=True)
        assert (data["input_size"], *data["mean"], *data["std"]) == ((1, 64, 64), 0.5, 0.25)
        assert (data["crop_pct"], data["crop_mode"], data["interpolation"]) == (1.0, "center", "bilinear")


def test_refuses_what_a_form_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="torchvision has no vit_small; use timm or onnx"):
        export_encoder(trained("vit_small"), tmp_path / "a.pth", format="torchvision")
    for format in ("torchvision", "timm"):
        with pytest.raises(InputError, match=f"--format {format}: this encoder has group norm.*use onnx"):
            export_encoder(trained("resnet18", norm="group"), tmp_path / "a.pth", format=format)  # type: ignore[arg-type]
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"needs the package onnxscript; install moco-cxr\[onnx\]"):
        export_encoder(trained("resnet18"), tmp_path / "a.onnx", format="onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--output .*file/a.pth: .*cannot be written"):
        export_encoder(trained("resnet18"), tmp_path / "file" / "a.pth", format="timm")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
