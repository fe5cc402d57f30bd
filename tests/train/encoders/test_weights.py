"""What each source of weights gives, and which files are refused."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.views import ViewSpec
from shards.base.errors import InputError
from tests.train.encoders.published import (
    fine_tuned,
    first_densenet_file,
    linear_probe,
    moco,
    moco_v3,
    source,
    torchvision_file,
)
from train.encoders.build import build_encoder
from train.encoders.networks import is_sincos, sincos_position_embedding
from train.encoders.saved import save_encoder
from train.encoders.weights import LoadReport, describe_start
from train.settings.architectures import ENCODERS


def assert_same_features(name: str, encoder: nn.Module) -> None:
    gray = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = source(name)(gray.expand(-1, 3, -1, -1))
        torch.testing.assert_close(encoder.eval()(gray), expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 1e-3


@pytest.mark.parametrize(
    ("name", "make", "format"),
    [
        ("resnet18", torchvision_file, "state dict"),
        ("densenet121", torchvision_file, "state dict"),
        ("densenet121", first_densenet_file, "state dict"),
        ("vit_small", torchvision_file, "state dict"),
        ("resnet18", moco, "MoCo checkpoint"),
        ("resnet18", functools.partial(moco, parallel=""), "MoCo checkpoint"),
        ("densenet121", moco, "MoCo checkpoint"),
        ("resnet18", moco_v3, "MoCo v3 checkpoint, base"),
        ("vit_small_moco_v3", moco_v3, "MoCo v3 checkpoint, base"),
        ("resnet18", fine_tuned, "state dict under model."),
        ("densenet121", fine_tuned, "state dict under model."),
        ("resnet18", linear_probe, "state dict"),
        ("vit_small_moco_v3", linear_probe, "state dict"),
    ],
)
def test_each_source_gives_its_features(tmp_path: Path, name: str, make: Callable[[str], Any], format: str) -> None:
    torch.save(make(name), tmp_path / "start.pth.tar")
    encoder = build_encoder(name, weights=str(tmp_path / "start.pth.tar"))
    assert_same_features(name, encoder)
    report = encoder.start
    assert isinstance(report, LoadReport)
    assert report.format.startswith(format)
    assert report.is_color
    assert set(report.loaded) | set(report.missing) == encoder.state_dict().keys()
    assert report.head
    assert all(key.startswith((*ENCODERS[name].heads, "best_acc1")) for key in report.head)
    others = ("encoder_k.", "momentum_encoder.", "predictor.", "queue", "optimizer.", "fc.")
    assert all(key.startswith(others) for key in report.beside)


def test_report_is_one_line_with_counts(tmp_path: Path) -> None:
    torch.save(moco("resnet18"), tmp_path / "moco.pth.tar")
    line = describe_start(build_encoder("resnet18", weights=str(tmp_path / "moco.pth.tar")))
    # 62 parameters and 60 buffers of ResNet18 without its classifier's two
    assert line == (
        f"encoder.weights {tmp_path}/moco.pth.tar: MoCo checkpoint (v1, v2 or MoCo-CXR), query encoder; 120 tensors "
        "loaded; head dropped: 4 (fc.0.weight, fc.0.bias, fc.2.weight, ...); left aside: 126 (encoder_k.conv1.weight, "
        "encoder_k.bn1.weight, encoder_k.bn1.bias, ...); three channels summed to one"
    )
    assert describe_start(build_encoder("resnet18")) == "encoder.weights random: nothing loaded"
    torch.save(first_densenet_file("densenet121"), tmp_path / "first.pth")
    line = describe_start(build_encoder("densenet121", weights=str(tmp_path / "first.pth")))
    assert "not in the file: 121 (features.norm0.num_batches_tracked, " in line


def test_former_run_starts_the_next(tmp_path: Path) -> None:
    before = build_encoder("resnet18", seed=3)
    before(torch.randn(4, 1, 64, 64))
    save_encoder(tmp_path / "encoder.safetensors", before, name="resnet18", views=ViewSpec(size=64))
    for weights in (tmp_path, tmp_path / "encoder.safetensors"):
        after = build_encoder("resnet18", weights=str(weights))
        assert all(torch.equal(value, before.state_dict()[key]) for key, value in after.state_dict().items())
        assert "former run; 120 tensors loaded" in describe_start(after)
    with pytest.raises(InputError, match="is a resnet18, not a resnet50; give encoder.name resnet18"):
        build_encoder("resnet50", weights=str(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="has not finished"):
        build_encoder("resnet18", weights=str(tmp_path / "other"))


def test_former_run_with_group_norm_needs_group_norm(tmp_path: Path) -> None:
    before = build_encoder("resnet18", seed=3, norm="group")
    save_encoder(tmp_path / "encoder.safetensors", before, name="resnet18", views=ViewSpec(size=64), norm="group")
    after = build_encoder("resnet18", weights=str(tmp_path), norm="group")
    images = torch.randn(2, 1, 64, 64)
    assert torch.equal(after(images), before(images))
    with pytest.raises(InputError, match="give --norm.strategy group"):
        build_encoder("resnet18", weights=str(tmp_path))
    torch.save(torchvision_file("resnet18"), tmp_path / "batch.pth")
    assert build_encoder("resnet18", weights=str(tmp_path / "batch.pth"), norm="group").bn1.num_groups == 32  # type: ignore[union-attr]


def test_plain_safetensors_are_a_state_dict(tmp_path: Path) -> None:
    save_file(torchvision_file("resnet18"), tmp_path / "model.safetensors")
    assert_same_features("resnet18", build_encoder("resnet18", weights=str(tmp_path / "model.safetensors")))


def test_one_channel_is_taken_as_it_is(tmp_path: Path) -> None:
    before = build_encoder("resnet18", seed=3)
    torch.save(before.state_dict(), tmp_path / "gray.pth")
    after = build_encoder("resnet18", weights=str(tmp_path / "gray.pth"))
    assert torch.equal(after.conv1.weight, before.conv1.weight)  # type: ignore[union-attr, arg-type]
    assert "summed" not in describe_start(after)


def test_imagenet_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: torchvision_file("resnet18")
    )
    encoder = build_encoder("resnet18", weights="imagenet")
    assert_same_features("resnet18", encoder)
    assert describe_start(encoder).startswith("encoder.weights imagenet: torchvision weights; 120 tensors loaded")
    create = timm.create_model

    def pretrained(*names: str, pretrained: bool = False, **options: Any) -> nn.Module:
        return source("vit_small") if pretrained else create(*names, **options)

    monkeypatch.setattr("timm.create_model", pretrained)
    assert_same_features("vit_small", build_encoder("vit_small", weights="imagenet"))
    with pytest.raises(InputError, match="there are none for vit_small_moco_v3"):
        build_encoder("vit_small_moco_v3", weights="imagenet")


def test_failed_download_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(InputError, match="download failed.*resnet18.*give the file's path"):
        build_encoder("resnet18", weights="imagenet")
    monkeypatch.setattr("timm.create_model", fail)
    with pytest.raises(InputError, match="download failed.*huggingface.co/timm/vit_small_patch16_224.*by hand"):
        build_encoder("vit_small", weights="imagenet")


def test_mismatch_lists_the_first_keys(tmp_path: Path) -> None:
    def message(name: str, payload: Any) -> str:
        torch.save(payload, tmp_path / "start.pth")
        with pytest.raises(InputError) as caught:
            build_encoder(name, weights=str(tmp_path / "start.pth"))
        return str(caught.value)

    state = torchvision_file("resnet18")
    lacking = {key: value for key, value in state.items() if key not in ("bn1.weight", "layer1.0.conv1.weight")}
    assert "does not fit the encoder resnet18: 2 (bn1.weight, layer1.0.conv1.weight) missing;" in message(
        "resnet18", lacking
    )
    deeper = state | {"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}
    assert "1 (layer1.2.conv1.weight) not expected" in message("resnet18", deeper)
    wide = state | {"conv1.weight": torch.zeros(64, 4, 7, 7)}
    assert "1 (conv1.weight (64, 4, 7, 7) where the encoder has (64, 1, 7, 7)) of another shape" in message(
        "resnet18", wide
    )
    other = message("densenet121", moco("resnet18"))
    assert "(features.conv0.weight, features.norm0.weight, features.norm0.bias, ...) missing" in other
    assert other.endswith("(the file says resnet18); these are weights of a resnet18: give encoder.name resnet18")


def test_vits_of_6_and_12_heads_are_told_apart(tmp_path: Path) -> None:
    torch.save(moco_v3("vit_small_moco_v3"), tmp_path / "moco.pth")
    with pytest.raises(
        InputError, match="of vit_small_moco_v3 by its position embedding.*encoder.name vit_small_moco_v3"
    ):
        build_encoder("vit_small", weights=str(tmp_path / "moco.pth"))
    torch.save(torchvision_file("vit_small"), tmp_path / "timm.pth")
    with pytest.raises(InputError, match="of vit_small by its position embedding"):
        build_encoder("vit_small_moco_v3", weights=str(tmp_path / "timm.pth"))


class Harmful:
    def __reduce__(self) -> Any:
        return (print, ("this ran",))


def test_never_runs_what_a_file_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(moco("resnet18") | {"extra": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(InputError, match=r"holds Python objects \(.*print\) that could run code.*weights_only=False"):
        build_encoder("resnet18", weights=str(tmp_path / "harmful.pth"))
    assert "this ran" not in capsys.readouterr().out


def test_reads_metrics_that_numpy_1_pickled(tmp_path: Path) -> None:
    file = tmp_path / "start.pth.tar"
    torch.save(fine_tuned("resnet18"), file, _use_new_zipfile_serialization=False)
    written = file.read_bytes()
    assert b"numpy._core.multiarray" in written
    file.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same_features("resnet18", build_encoder("resnet18", weights=str(file)))


def test_refuses_what_holds_no_weights(tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            build_encoder("resnet18", weights=str(tmp_path / "start.pth"))

    refused("no such file")
    (tmp_path / "start.pth").write_text("hello")
    refused(r"start\.pth")
    (tmp_path / "start.pth").write_bytes(b"")
    refused(r"start\.pth")
    torch.save(torchvision_file("resnet18"), tmp_path / "start.pth")
    (tmp_path / "start.pth").write_bytes((tmp_path / "start.pth").read_bytes()[:100_000])
    refused("cannot be read")
    torch.save([1, 2], tmp_path / "start.pth")
    refused("holds no tensors, but list")
    torch.save({"epoch": 1, "loss": 0.5}, tmp_path / "start.pth")
    refused("holds no tensors, but .*'epoch', 'loss'")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "start.pth")
    refused("does not fit")


def test_holds_sines_and_cosines_of_row_and_column() -> None:
    num_features, grid = 16, 5
    positions = sincos_position_embedding(num_features, grid)
    assert positions.shape == (1, 1 + grid * grid, num_features)
    assert not positions[0, 0].any()
    for row, column, k in [(0, 0, 0), (3, 1, 0), (4, 2, 3), (1, 4, 2)]:
        token, frequency = positions[0, 1 + row * grid + column], 10_000 ** (-k / 4)
        expected = [f(frequency * place) for place in (row, column) for f in (math.sin, math.cos)]
        assert token[[k, 4 + k, 8 + k, 12 + k]].tolist() == pytest.approx(expected, abs=1e-6)


def test_tells_fixed_from_learned() -> None:
    positions = sincos_position_embedding(16, 5)
    assert is_sincos(positions)
    assert not is_sincos(positions + 0.1 * torch.randn(positions.shape))
    assert not is_sincos(positions[:, :-1])
