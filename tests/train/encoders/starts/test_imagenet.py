"""The libraries' own weights: found where they were placed, and asked for where they are not."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from shards.base.errors import InputError
from tests.train.encoders.published import torchvision_file
from train.encoders.build import build_encoder
from train.encoders.weights import describe_start


def fail(*_: object, **__: object) -> None:
    raise OSError("no route")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the libraries look, without a network."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("name", "model", "file", "size"),
    [
        ("timm:test_convnext", "test_convnext", "test_convnext.r160_in1k.safetensors", 64),
        ("timm:test_vit.r160_in1k", "test_vit", "test_vit.r160_in1k.safetensors", 160),
        ("vit_small", "vit_small_patch16_224", "vit_small_patch16_224.augreg_in21k_ft_in1k.safetensors", 224),
    ],
)
def test_a_file_that_was_placed_is_taken(folder: Path, name: str, model: str, file: str, size: int) -> None:
    with pytest.raises(InputError, match=f"the download failed .no route.; fetch model.*of .*{model}.* by hand"):
        build_encoder(name, weights="imagenet", size=size)
    published = timm.create_model(model).eval()
    save_file(published.state_dict(), folder / file)
    encoder = build_encoder(name, weights="imagenet", size=size)
    assert "three channels summed to one" in describe_start(encoder)
    gray = torch.randn(2, 1, size, size)
    with torch.no_grad():
        color = gray.expand(-1, 3, -1, -1)
        expected = published.forward_head(published.forward_features(color), pre_logits=True)
        torch.testing.assert_close(encoder.eval()(gray), expected, rtol=1e-3, atol=1e-4)


def test_positions_are_fitted_to_the_size_of_the_views(folder: Path) -> None:
    published = timm.create_model("test_vit")
    save_file(published.state_dict(), folder / "test_vit.r160_in1k.safetensors")
    own, larger = (build_encoder("timm:test_vit", weights="imagenet", size=size) for size in (160, 320))
    grids = [encoder.get_parameter("pos_embed").shape[1] for encoder in (own, larger)]
    assert grids == [10 * 10 + grids[0] - 100, 20 * 20 + grids[0] - 100]
    assert torch.equal(own.get_parameter("norm.weight"), larger.get_parameter("norm.weight"))


def test_torchvisions_are_asked_for_by_file_and_folder(folder: Path) -> None:
    with pytest.raises(InputError, match=f"fetch https://.*/resnet18-.*pth by hand and put it into {folder} as"):
        build_encoder("resnet18", weights="imagenet")


def test_what_does_not_fit_and_what_there_is_none_of(folder: Path) -> None:
    (folder / "test_convnext.r160_in1k.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"test_convnext.r160_in1k.safetensors does not fit .*again"):
        build_encoder("timm:test_convnext", weights="imagenet")
    with pytest.raises(InputError, match="timm has none for timm:efficientnet_b8; give random.*such as timm:"):
        build_encoder("timm:efficientnet_b8", weights="imagenet")
    wrong: dict[str, Any] = torchvision_file("resnet18")
    save_file(wrong, folder / "test_convnext.r160_in1k.safetensors")
    with pytest.raises(InputError, match="does not fit timm:test_convnext"):
        build_encoder("timm:test_convnext", weights="imagenet")


def test_without_a_network_it_does_not_try_for_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def ask(*_: object, **__: object) -> None:
        asked.append(constants.HF_HUB_OFFLINE)
        fail()

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    monkeypatch.setattr("timm.create_model", ask)
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(InputError, match="the download failed"):
        build_encoder("timm:test_vit", weights="imagenet")
    assert asked == [True]
    assert constants.HF_HUB_OFFLINE is before
