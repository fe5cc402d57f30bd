"""Tiny models of others, made on the spot in the formats of their libraries."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of 28 px as transformers writes it, with its processor."""
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("hf") / "tiny-dino"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(**shape)).save_pretrained(folder)
    levels = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}, **levels).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT classifier of 32 px of one channel."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("hf") / "tiny-vit"
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    ViTForImageClassification(ViTConfig(**shape, num_channels=1)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.5], image_std=[0.5]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of timm as its save_for_hf writes it, of 32 px, with levels of its own."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("timm") / "tiny-net"
    torch.manual_seed(2)
    model = timm.create_model("test_resnet", num_classes=3)
    config = {"pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.4, 0.3]}}
    save_for_hf(model, folder, model_config=config, safe_serialization=True)
    return folder
