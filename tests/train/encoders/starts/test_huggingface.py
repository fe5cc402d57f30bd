"""Folders as ``save_pretrained`` writes them, of the real classes of transformers at the sizes of timm's networks."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.weights import describe_start

SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
SLOW = pytest.mark.slow
DINOV2, DINOV3 = "timm:vit_small_patch14", "timm:vit_small_patch16_dinov3"


def class_token(output: Any) -> Tensor:
    token: Tensor = output.last_hidden_state[:, 0]
    return token


def mean_of_tokens(output: Any) -> Tensor:
    """Of class and distillation token, as timm's DeiT ends."""
    mean: Tensor = output.last_hidden_state[:, :2].mean(dim=1)
    return mean


def mean_of_patches(output: Any) -> Tensor:
    """As timm pools DINOv3; before them are the class token and four registers."""
    mean: Tensor = output.last_hidden_state[:, 5:].mean(dim=1)
    return mean


def pooled(output: Any) -> Tensor:
    features: Tensor = output.pooler_output.flatten(1)
    return features


def vit() -> nn.Module:
    return transformers.ViTModel(transformers.ViTConfig(image_size=32, layer_norm_eps=1e-6, **TINY))


def deit() -> nn.Module:
    return transformers.DeiTModel(transformers.DeiTConfig(image_size=32, layer_norm_eps=1e-6, **TINY))


def dinov2() -> nn.Module:
    return transformers.Dinov2Model(transformers.Dinov2Config(image_size=56, patch_size=14, **SMALL))


def dinov2_with_registers() -> nn.Module:
    config = transformers.Dinov2WithRegistersConfig(image_size=56, patch_size=14, num_register_tokens=4, **SMALL)
    return transformers.Dinov2WithRegistersModel(config)


def dinov3(has_bias: bool = False) -> nn.Module:
    config = transformers.DINOv3ViTConfig(
        intermediate_size=1536,
        num_register_tokens=4,
        query_bias=has_bias,
        value_bias=has_bias,
        proj_bias=True,
        **SMALL,
    )
    return transformers.DINOv3ViTModel(config)


def resnet18() -> nn.Module:
    return transformers.ResNetModel(
        transformers.ResNetConfig(hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic")
    )


def resnet50() -> nn.Module:
    return transformers.ResNetModel(transformers.ResNetConfig())


ATTO = {"hidden_sizes": [40, 80, 160, 320], "depths": [2, 2, 6, 2], "layer_norm_eps": 1e-6}


def convnext() -> nn.Module:
    return transformers.ConvNextModel(transformers.ConvNextConfig(**ATTO))


def convnext_v2() -> nn.Module:
    return transformers.ConvNextV2Model(transformers.ConvNextV2Config(**ATTO))


def dinov3_convnext() -> nn.Module:
    return transformers.DINOv3ConvNextModel(transformers.DINOv3ConvNextConfig())


def swin() -> nn.Module:
    return transformers.SwinModel(transformers.SwinConfig(image_size=224))


@pytest.mark.parametrize(
    ("name", "make", "size", "features", "named"),
    [
        ("timm:vit_tiny_patch16_224", vit, 32, class_token, "ViT"),
        pytest.param("timm:deit_tiny_distilled_patch16_224", deit, 32, mean_of_tokens, "ViT", marks=SLOW),
        (f"{DINOV2}_dinov2", dinov2, 56, class_token, "DINOv2"),
        pytest.param(f"{DINOV2}_reg4_dinov2", dinov2_with_registers, 56, class_token, "DINOv2", marks=SLOW),
        pytest.param(DINOV3, dinov3, 64, mean_of_patches, "DINOv3 ViT", marks=SLOW),
        pytest.param(f"{DINOV3}_qkvb", partial(dinov3, True), 64, mean_of_patches, "DINOv3 ViT", marks=SLOW),
        ("resnet18", resnet18, 64, pooled, "ResNet"),
        pytest.param("timm:resnet50", resnet50, 64, pooled, "ResNet", marks=SLOW),
        ("timm:convnext_atto", convnext, 64, pooled, "ConvNeXt"),
        pytest.param("timm:convnextv2_atto", convnext_v2, 64, pooled, "ConvNeXt", marks=SLOW),
        pytest.param("timm:convnext_tiny.dinov3_lvd1689m", dinov3_convnext, 64, pooled, "DINOv3 ConvNeXt", marks=SLOW),
        pytest.param("timm:swin_tiny_patch4_window7_224", swin, 224, pooled, "Swin", marks=SLOW),
    ],
)
def test_a_folder_gives_its_features(
    tmp_path: Path, name: str, make: Callable[[], nn.Module], size: int, features: Callable[[Any], Tensor], named: str
) -> None:
    torch.manual_seed(3)
    published: Any = make()
    with torch.no_grad():
        for key, value in published.state_dict().items():  # so that none is taken for another
            if value.is_floating_point() and "running_var" not in key:
                value.add_(0.02 * torch.randn(value.shape))
    published.eval().save_pretrained(tmp_path)
    encoder = build_encoder(name, weights=str(tmp_path), size=size).eval()
    line = describe_start(encoder)
    assert f"(Hugging Face's {named})" in line
    assert "three channels summed to one" in line
    gray = torch.randn(2, 1, size, size)
    with torch.no_grad():
        expected = features(published(gray.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(encoder(gray), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 1e-3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    transformers.ViTForImageClassification(
        transformers.ViTConfig(image_size=32, layer_norm_eps=1e-6, num_labels=3, **TINY)
    ).save_pretrained(tmp_path / "whole", max_shard_size="6MB")
    return tmp_path / "whole"


def test_weights_in_several_files_and_in_a_pickle(folder: Path, tmp_path: Path) -> None:
    name = "timm:vit_tiny_patch16_224"
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    several = build_encoder(name, weights=str(folder), size=32)
    assert "under vit. " in describe_start(several)
    assert "classifier.weight" in describe_start(several)
    tensors = {key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}
    (tmp_path / "old").mkdir()
    shutil.copy(folder / "config.json", tmp_path / "old")
    torch.save(tensors, tmp_path / "old" / "pytorch_model.bin")
    pickled = build_encoder(name, weights=str(tmp_path / "old"), size=32).state_dict()
    assert all(torch.equal(value, pickled[key]) for key, value in several.state_dict().items())


def test_positions_are_fitted_to_the_views(folder: Path) -> None:
    encoder = build_encoder("timm:vit_tiny_patch16_224", weights=str(folder), size=64)
    assert encoder.get_parameter("pos_embed").shape == (1, 4 * 4 + 1, 192)
    assert "fitted to the size of the views: 1 (pos_embed)" in describe_start(encoder)


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("this ran",))


def test_folders_that_cannot_be_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(match: str, name: str = "timm:vit_tiny_patch16_224") -> None:
        with pytest.raises(InputError, match=match) as caught:
            build_encoder(name, weights=str(folder), size=32)
        assert "\n" not in str(caught.value)

    refused("does not fit the encoder timm:resnet10t.*the file says a vit", "timm:resnet10t")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 6}))
    refused("has 6 attention heads, and timm:vit_tiny_patch16_224 has 3; give another encoder.name")
    (folder / "config.json").write_text("[")
    refused("config.json: .*copy it again")
    (folder / "config.json").write_text(json.dumps(config))
    part = next(folder.glob("model-*.safetensors"))
    part.unlink()
    refused(f"index.json: names {part.name}, which is not there; copy all of the folder")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    refused("names ../outside.safetensors, which is not there")
    for file in folder.glob("model*"):
        file.unlink()
    refused("has a config.json, but neither model.safetensors nor pytorch_model.bin; copy all of the folder")
    torch.save({"a": Harmful()}, folder / "pytorch_model.bin")
    refused("holds Python objects .* that could run code")
    assert "this ran" not in capsys.readouterr().out
    (folder / "config.json").unlink()
    refused("no config.json of a Hugging Face model; give one of the files in it, such as .*pytorch_model.bin")
