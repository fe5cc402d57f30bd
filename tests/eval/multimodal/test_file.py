"""A trained classifier is kept, and read again."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from eval.multimodal.file import load_multimodal
from shards.base.errors import InputError
from tests.eval.multimodal.conftest import SHORT, Run
from train.encoders.saved import LoadedEncoder


@pytest.mark.parametrize("image_encoder", ["frozen", "trained"])
def test_the_model_can_be_kept(run: Run, resnet: LoadedEncoder, tmp_path: Path, image_encoder: Any) -> None:
    config = dataclasses.replace(SHORT, image_encoder=image_encoder, image_tokens=1, keep_model=True, max_steps=1)
    result = run(dataclasses.replace(config, min_steps=1), start=resnet)
    model, labels, settings = load_multimodal(tmp_path / "cell")
    assert labels == ("both", "either")
    assert settings.image_encoder == image_encoder
    assert (tmp_path / "cell" / "encoder.safetensors").exists() == (image_encoder == "trained")
    logits = model(torch.zeros(2, 1, 512), torch.full((2, 3), 2), torch.tensor([3, 1]))
    assert logits.shape == (2, result.test_scores.shape[1])
    with pytest.raises(InputError, match=r"has no multimodal\.safetensors"):
        load_multimodal(tmp_path)
