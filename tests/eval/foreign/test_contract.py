"""Models of others give the features of their own library, on the input that their own configuration asks for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eval.foreign.contract import ForeignModel, open_foreign
from eval.foreign.kinds import title_of
from shards.base.errors import InputError


def gray(model: ForeignModel) -> tuple[torch.Tensor, np.ndarray]:
    """Views of two images as the model's own views have them, and the images in gray levels."""
    side = model.views.size
    images = np.random.default_rng(0).integers(0, 256, size=(2, side, side), dtype=np.uint8)
    values = torch.from_numpy(images)[:, None].float() / 255
    return (values - model.views.mean) / model.views.std, images


def features_of(model: ForeignModel, views: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        features: torch.Tensor = model.encoder(views)
    assert features.shape == (2, model.num_features)
    return features


def test_a_dino_of_hugging_face(dino: Path) -> None:
    from transformers import AutoImageProcessor, AutoModel

    model = open_foreign(f"hf:{dino}")
    views, images = gray(model)
    processor, theirs = AutoImageProcessor.from_pretrained(dino, use_fast=False), AutoModel.from_pretrained(dino)
    colour = [Image.fromarray(image).convert("RGB") for image in images]
    pixels = processor(colour, do_resize=False, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = theirs.eval()(pixel_values=pixels).pooler_output
    torch.testing.assert_close(features_of(model, views), expected, atol=1e-4, rtol=1e-4)
    assert model.views.size == 28
    assert "gray in 3 channels of 28 px, mean 0.4, 0.5, 0.6 and standard deviation 0.2, 0.25, 0.3" in model.about
    assert "16 features: the pooled output of Dinov2Model" in model.about


def test_a_vit_gives_its_class_token_and_takes_one_channel(vit: Path) -> None:
    from transformers import ViTModel

    model = open_foreign(f"hf:{vit}")
    views, images = gray(model)
    theirs = ViTModel.from_pretrained(vit, add_pooling_layer=False).eval()
    with torch.inference_mode():
        pixels = torch.from_numpy(images)[:, None].float() / 127.5 - 1
        expected = theirs(pixel_values=pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(features_of(model, views), expected, atol=1e-4, rtol=1e-4)
    assert "gray in 1 channel of 32 px" in model.about
    assert "class token" in model.about


def test_a_network_of_timm(network: Path) -> None:
    import timm

    model = open_foreign(f"timm:{network}")
    views, images = gray(model)
    theirs = timm.create_model(f"local-dir:{network}", pretrained=True, num_classes=0).eval()
    mean, std = (torch.tensor(each).reshape(1, 3, 1, 1) for each in ([0.1, 0.2, 0.3], [0.5, 0.4, 0.3]))
    with torch.inference_mode():
        expected = theirs((torch.from_numpy(images)[:, None].float() / 255 - mean) / std)
    torch.testing.assert_close(features_of(model, views), expected, atol=1e-4, rtol=1e-4)
    assert model.views.size == 32
    assert "mean 0.1, 0.2, 0.3" in model.about


def changed(folder: Path, to: Path, file: str, **values: Any) -> Path:
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps(content | values))
    return to


@pytest.mark.parametrize("absent", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(dino: Path, tmp_path: Path, absent: str) -> None:
    shutil.copytree(dino, tmp_path / "m")
    (tmp_path / "m" / absent).unlink()
    with pytest.raises(InputError, match=r"^start hf:.*: the folder has no .*(config.json|safetensors); "):
        open_foreign(f"hf:{tmp_path / 'm'}")


def test_a_timm_folder_that_lacks_a_file(network: Path, tmp_path: Path) -> None:
    for absent in ("config.json", "model.safetensors"):
        folder = tmp_path / absent
        shutil.copytree(network, folder)
        (folder / absent).unlink()
        with pytest.raises(InputError, match=f"^start timm:.*: the folder has no {absent}; "):
            open_foreign(f"timm:{folder}")


def test_code_in_a_folder_is_never_run(dino: Path, tmp_path: Path) -> None:
    folder = changed(
        dino, tmp_path / "m", "config.json", model_type="mine", auto_map={"AutoConfig": "c.C", "AutoModel": "c.M"}
    )
    (folder / "c.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(InputError, match="start hf:") as raised:
        open_foreign(f"hf:{folder}")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_opened(dino: Path, tmp_path: Path) -> None:
    shutil.copytree(dino, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(InputError, match="no \\*.safetensors"):
        open_foreign(f"hf:{tmp_path / 'm'}")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("preprocessor_config.json", {"crop_size": {"height": 28, "width": 14}}, "is no square"),
        ("preprocessor_config.json", {"image_std": [0, 1, 1]}, "image_std are no numbers"),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5], "image_std": [0.5, 0.5]}, "normalises 2 channels"),
        ("config.json", {"hidden_size": 32}, "start hf:"),
        ("config.json", {"num_hidden_layers": 3}, "of its weights are not in the file"),
        ("config.json", {"model_type": "bert"}, "start hf:"),
    ],
)
def test_a_configuration_that_does_not_fit(dino: Path, tmp_path: Path, file: str, values: dict, message: str) -> None:
    folder = changed(dino, tmp_path / "m", file, **values)
    with pytest.raises(InputError, match=message) as raised:
        open_foreign(f"hf:{folder}")
    assert "\n" not in str(raised.value)


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^start timm:resnet19: .*did you mean timm:resnet1"):
        open_foreign("timm:resnet19")
    with pytest.raises(InputError, match="start timm:: names no model; give timm:NAME or FOLDER"):
        open_foreign("timm:")


def test_without_a_network_the_files_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"start hf:nobody/nothing: .*https://huggingface.co/nobody/nothing") as raised:
        open_foreign("hf:nobody/nothing")
    assert "\n" not in str(raised.value)


def test_titles() -> None:
    assert title_of("hf:microsoft/rad-dino") == "rad-dino"
    assert title_of("timm:resnet50.a1_in1k") == "resnet50.a1_in1k"
    assert title_of("hf:some/folder/") == "folder"
