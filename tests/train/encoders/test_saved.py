from pathlib import Path

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.views import PRESETS
from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.norms import split_batchnorm
from train.encoders.saved import load_encoder, save_encoder

VIEWS = PRESETS["crop_contrast"]


def trained(norm: str = "batch") -> nn.Module:
    """An encoder whose running statistics are not those of a start."""
    encoder = build_encoder("resnet18", seed=4, norm=norm)
    if norm == "batch":
        encoder = split_batchnorm(encoder, 2)
    encoder(torch.randn(8, 1, 32, 32))
    return encoder.eval()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_round_trip_gives_the_same_features_with_ordinary_layers(tmp_path: Path, norm: str) -> None:
    encoder = trained(norm)
    save_encoder(tmp_path / "encoder.safetensors", encoder, name="resnet18", views=VIEWS, norm=norm, step=7)
    loaded = load_encoder(tmp_path)
    assert loaded.name == "resnet18"
    assert loaded.views == VIEWS
    assert loaded.metadata["step"] == 7
    assert not loaded.encoder.training
    assert all(type(m) is nn.BatchNorm2d for m in loaded.encoder.modules() if isinstance(m, nn.BatchNorm2d))
    images = torch.randn(3, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert load_encoder(tmp_path / "encoder.safetensors").views == VIEWS


def test_plain_torchvision_loads_it(tmp_path: Path) -> None:
    save_encoder(tmp_path / "encoder.safetensors", trained(), name="resnet18", views=VIEWS)
    plain = torchvision.models.resnet18()
    plain.conv1, plain.fc = nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.Identity()
    plain.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=True)


def test_refuses_what_is_not_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or run folder"):
        load_encoder(tmp_path / "none")
    with pytest.raises(InputError, match="has not finished"):
        load_encoder(tmp_path)
    file = tmp_path / "encoder.safetensors"
    file.write_text("hello")
    with pytest.raises(InputError, match="is no safetensors file"):
        load_encoder(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="no moco-cxr header"):
        load_encoder(file)
    save_encoder(file, build_encoder("resnet18"), name="resnet50", views=VIEWS)
    with pytest.raises(InputError, match="does not fit resnet50"):
        load_encoder(file)


def test_a_bit_that_has_flipped_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, build_encoder("resnet18"), name="resnet18", views=VIEWS, step=7)
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    step = content.index(b'"step":"7"') + len(b'"step":"')
    for place in (step, start, start + 12_345_678, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(InputError, match=r"encoder\.safetensors: was changed since it was written; copy it again"):
            load_encoder(file)
    with safe_open(file, framework="pt") as opened:
        early = {name: value for name, value in opened.metadata().items() if "digest" not in name}
    file.write_bytes(content)
    save_file(load_file(file), file, early)  # of a version that wrote no digest
    assert load_encoder(file).metadata["step"] == 7
