from pathlib import Path

import pytest
import torch
import torchvision

from shards.errors import InputError
from train.encoders import ENCODERS, build_encoder


@pytest.mark.parametrize(("name", "num_features"), [("resnet18", 512), ("resnet50", 2048), ("densenet121", 1024)])
def test_takes_gray_to_pooled_features(name: str, num_features: int) -> None:
    encoder = build_encoder(name).eval()
    assert encoder.num_features == num_features
    assert encoder(torch.randn(2, 1, 64, 64)).shape == (2, num_features)
    plain = torchvision.models.get_model(name, weights=None).state_dict()
    classifier = ENCODERS[name][1]
    assert encoder.state_dict().keys() == {key for key in plain if not key.startswith(f"{classifier}.")}


def test_start_depends_on_the_seed_alone_and_leaves_the_global_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (build_encoder("resnet18", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    # torchvision initialises by fan-out: 64 channels of 7 x 7
    assert first["conv1.weight"].std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_color_weights_give_what_three_equal_channels_gave(tmp_path: Path, name: str) -> None:
    color = torchvision.models.get_model(name, weights=None).eval()
    torch.save(color.state_dict(), tmp_path / "color.pth")
    encoder = build_encoder(name, weights=str(tmp_path / "color.pth")).eval()
    color.set_submodule(ENCODERS[name][1], torch.nn.Identity())
    gray = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(gray), color(gray.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_failed_download_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(InputError, match="download failed.*resnet18.*give the file's path"):
        build_encoder("resnet18", weights="imagenet")


def test_refuses_other_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="encoder.name 'vgg'"):
        build_encoder("vgg")
    with pytest.raises(InputError, match="no such file"):
        build_encoder("resnet18", weights=str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pth"):
        build_encoder("resnet18", weights=str(tmp_path / "text.pth"))
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.pth")
    with pytest.raises(InputError, match="does not fit"):
        build_encoder("resnet18", weights=str(tmp_path / "part.pth"))
