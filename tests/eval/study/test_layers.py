"""Features of chosen layers against the network taken apart by hand."""

from pathlib import Path

import pytest
import torch

from eval.foreign.contract import open_foreign
from eval.study.features import encoder_hash
from eval.study.layers import LayerFeatures
from shards.base.errors import InputError
from tests.eval.foreign.conftest import dino, network
from train.encoders.build import build_encoder
from train.encoders.places import stages

__all__ = ["dino", "network"]


@torch.inference_mode()
def test_layers_of_a_resnet_are_means_of_its_stages() -> None:
    encoder = build_encoder("resnet18", seed=3).eval()
    images = torch.randn(2, 1, 64, 64)
    read = LayerFeatures(encoder, (3, 4), name="resnet18").eval()
    assert read.modules_read == ("layer3", "layer4")
    maps = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(images))))
    third = encoder.layer3(encoder.layer2(encoder.layer1(maps)))
    expected = torch.cat([third.mean((2, 3)), encoder.layer4(third).mean((2, 3))], dim=1)
    torch.testing.assert_close(read(images), expected)
    assert read.num_features == expected.shape[1] == 256 + 512
    turned = LayerFeatures(encoder, (4, 3), name="resnet18").eval()(images)
    torch.testing.assert_close(turned, expected.roll(512, dims=1))
    torch.testing.assert_close(LayerFeatures(encoder, (4,), name="resnet18").eval()(images), encoder(images))


@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [
        ("densenet121", (1, 2, 3, 4), 64),
        ("vit_small", (6, 12), 32),
        ("timm:tf_efficientnet_lite0", (1, 5), 64),
        ("timm:convnext_atto", (3, 4), 64),
        ("timm:swin_tiny_patch4_window7_224", (1, 4), 224),
    ],
)
def test_any_encoder_has_layers(name: str, layers: tuple[int, ...], size: int) -> None:
    encoder = build_encoder(name, size=size).eval()
    read = LayerFeatures(encoder, layers, name=name).eval()
    with torch.inference_mode():
        features = read(torch.randn(1, 1, size, size))
    assert features.shape == (1, read.num_features)
    widths = [stage.num_channels for stage in stages(encoder)]
    assert read.num_features == sum(widths[layer - 1] for layer in layers[:-1]) + encoder.num_features
    assert encoder_hash(read) != encoder_hash(LayerFeatures(encoder, layers[-1:], name=name)) != encoder_hash(encoder)


def test_models_of_others_have_layers(dino: Path, network: Path) -> None:
    model = open_foreign(f"hf:{dino}")
    read, images = LayerFeatures(model.encoder, (1, 2), name="dino").eval(), torch.randn(2, 1, 28, 28)
    with torch.inference_mode():
        pixels = images * model.encoder.scale + model.encoder.shift
        hidden = model.encoder.model(pixels, output_hidden_states=True).hidden_states[1]
        features = read(images)
    torch.testing.assert_close(features[:, :16], hidden[:, 1:].mean(1))
    other = open_foreign(f"timm:{network}")
    joined = LayerFeatures(other.encoder, (2, 3), name="net").eval()
    with torch.inference_mode():
        assert joined(torch.randn(2, 1, 32, 32)).shape == (2, joined.num_features)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((3, 5), "features.layers 3 5: resnet18 has the layers 1 layer1, 2 layer2, 3 layer3, 4 layer4; give some"),
        ((2, 2), "features.layers 2 2: one is given twice"),
    ],
)
def test_layers_that_there_are_not(layers: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LayerFeatures(build_encoder("resnet18"), layers, name="resnet18")
    with pytest.raises(InputError, match="features.layers 1: it does not name its layers"):
        LayerFeatures(torch.nn.Identity(), (1,), name="it")
