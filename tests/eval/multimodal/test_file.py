"""A trained classifier is kept, and read again."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.multimodal.file import load_multimodal
from eval.multimodal.text import texts_of
from eval.report.pictures import load_views
from eval.training.task import TrainingTask
from shards.base.errors import InputError
from tests.eval.multimodal.conftest import SHORT, Run
from train.encoders.saved import LoadedEncoder, load_encoder
from train.encoders.seen import load_seen


@pytest.mark.parametrize(
    ("inputs", "image_encoder"),
    [
        ("both", "frozen"),
        pytest.param("both", "trained", marks=pytest.mark.slow),
        pytest.param("image", "frozen", marks=pytest.mark.slow),
        ("text", "frozen"),
    ],
)
def test_the_model_can_be_kept(
    run: Run, resnet: LoadedEncoder, task: TrainingTask, tmp_path: Path, inputs: Any, image_encoder: Any
) -> None:
    config = dataclasses.replace(SHORT, image_encoder=image_encoder, image_tokens=1, keep_model=True, max_steps=1)
    start = None if inputs == "text" else resnet
    result = run(dataclasses.replace(config, min_steps=1), start=start, inputs=inputs)
    kept = load_multimodal(tmp_path / "cell")
    names = {"both": "multimodal", "image": "multimodal-image", "text": "multimodal-text"}
    assert (kept.labels, kept.readout, kept.reads_images) == (("both", "either"), names[inputs], inputs != "text")
    assert kept.calibration.logits.shape == result.valid_scores.shape
    assert all(shift != 0 for shift in kept.calibration.shifts)  # classes are balanced by default
    assert kept.read_texts is not None
    images = task.select(task.test_rows[:8])
    views = load_views(images, kept.views) if kept.reads_images else None
    with torch.inference_mode():
        logits = kept.network(views, *kept.read_texts(texts_of(images)))
    np.testing.assert_allclose(logits, result.test_scores[:8], atol=5e-3)  # tokens are kept in half precision
    if start is not None:
        seen = load_seen(tmp_path / "cell" / "encoder.safetensors", load_encoder(tmp_path / "cell").metadata)
        assert seen.has_numbers == (image_encoder == "trained"), "a frozen encoder has learnt from none of them"
    with pytest.raises(InputError, match=r"has no multimodal\.safetensors"):
        load_multimodal(tmp_path)
