"""torchxrayvision's own classes with random weights, and ours read from the same files."""

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.foreign.contract import open_foreign
from shards.base.errors import InputError

pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed: pip install 'moco-cxr[xrv]'")


@pytest.fixture
def xrv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The package, whose files are in ``tmp_path``."""
    with warnings.catch_warnings():
        import torchxrayvision

    monkeypatch.setattr(torchxrayvision.utils, "get_cache_dir", lambda: f"{tmp_path}/")
    return torchxrayvision


def file_of(xrv: Any, name: str, tmp_path: Path) -> Path:
    return tmp_path / str(xrv.models.model_urls[name]["weights_url"]).rpartition("/")[2]


def test_the_densenet_of_a_pickled_module(xrv: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = xrv.models.DenseNet(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    torch.save(theirs, file_of(xrv, "densenet121-res224-chex", tmp_path))
    model = open_foreign("xrv:densenet121-res224-chex")
    levels = np.random.default_rng(0).integers(0, 256, size=(1, 1, 224, 224)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs.features2(torch.from_numpy(xrv.datasets.normalize(levels, 255)))
        views = (torch.from_numpy(levels) / 255 - model.views.mean) / model.views.std
        found = model.encoder(views)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert (model.name, model.num_features, model.views.size) == ("densenet121", 1024, 224)
    assert "levels from -1024 to 1024" in model.about


@pytest.mark.slow
def test_the_resnet_of_a_state_dict(xrv: Any, tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet50(num_classes=18)
    network.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    torch.save(network.state_dict(), file_of(xrv, "resnet50-res512-all", tmp_path))
    theirs = xrv.models.ResNet(weights="resnet50-res512-all", cache_dir=f"{tmp_path}/")
    model = open_foreign("xrv:resnet50-res512-all")
    levels = np.random.default_rng(0).integers(0, 256, size=(1, 1, 512, 512)).astype(np.float32)
    with torch.inference_mode():
        expected = theirs.features(torch.from_numpy(xrv.datasets.normalize(levels, 255)))
        found = model.encoder((torch.from_numpy(levels) / 255 - model.views.mean) / model.views.std)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)
    assert model.views.size == 512


def test_code_in_a_file_is_not_run(xrv: Any, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return open, (str(tmp_path / "ran"), "w")

    with file_of(xrv, "all", tmp_path).open("wb") as file:
        pickle.dump(Payload(), file)
    with pytest.raises(InputError, match="^start xrv:all: "):
        open_foreign("xrv:all")
    assert not (tmp_path / "ran").exists()


def test_a_file_of_another_network(xrv: Any, tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, file_of(xrv, "nih", tmp_path))
    with pytest.raises(InputError, match=r"start xrv:nih: .* is of no densenet121 \(features.conv0.weight\)"):
        open_foreign("xrv:nih")


def test_unknown_absent_and_not_installed(xrv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="start xrv:vgg: there is no such model; give one of all, dense"):
        open_foreign("xrv:vgg")

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(
        InputError, match=rf"the download failed .*; fetch https://.*\.pt by hand and .*into {tmp_path}"
    ):
        open_foreign("xrv:densenet121-res224-all")
    monkeypatch.setitem(sys.modules, "torchxrayvision", None)
    with pytest.raises(InputError, match=r"torchxrayvision is not installed; pip install 'moco-cxr\[xrv\]'"):
        open_foreign("xrv:densenet121-res224-all")
