"""A trained multimodal classifier as a folder, and back.

FOLDER/multimodal.safetensors    all weights but the image encoder's; labels, settings, preprocessing and calibration
                                 in the header, as :mod:`eval.classifier.file` has them
FOLDER/text/                     the text model's configuration and its tokenizer
FOLDER/encoder.safetensors       the image encoder, as a run leaves it, where images are read
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from eval.classifier.calibration import Calibration
from eval.classifier.file import (
    KEEPS,
    about,
    encoder_of,
    kept_of,
    load_kept_encoder,
    read_kept,
    save_own_encoder,
    write_kept,
)
from eval.classifier.kept import Kept
from eval.multimodal.config import SMALL, MultimodalConfig
from eval.multimodal.model import MultimodalModel
from eval.multimodal.text import tokenize
from eval.multimodal.tokenizer import TextTokenizer, save_tokenizer, stored_tokenizer
from eval.multimodal.tokens import TokenEncoder
from eval.readouts.registry import READOUTS, Inputs
from pipeline.views import ViewSpec
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from shards.images.store import ImageSpec
from train.encoders.file import header_value, load_state
from train.encoders.saved import LoadedEncoder
from train.encoders.seen import Seen

MODEL_FILE, _TEXT = "multimodal.safetensors", "text"
_ENCODER = "encoder.encoder."


def save_multimodal(
    folder: Path,
    model: MultimodalModel,
    tokenizer: TextTokenizer,
    start: LoadedEncoder | None,
    config: MultimodalConfig,
    *,
    inputs: Inputs,
    labels: tuple[str, ...],
    image: ImageSpec,
    calibration: Calibration,
    trained: dict[str, Any],
    seen: Seen,
) -> str:
    """Writes what :func:`load_multimodal` reads, and returns the digest of the model's file."""
    (folder / _TEXT).mkdir(parents=True, exist_ok=True)
    encoder = None
    if start is not None:
        encoder = start.encoder if model.encoder is None else model.encoder.encoder
        save_own_encoder(folder, encoder, start, image=image, seen=start.seen if model.encoder is None else seen)
    tensors = {name: value for name, value in model.state_dict().items() if not name.startswith(_ENCODER)}
    model.text_model.config.save_pretrained(folder / _TEXT)
    save_tokenizer(tokenizer, folder / _TEXT)
    (readout,) = (name for name, each in READOUTS.items() if each.inputs == inputs)
    said = about(
        readout,
        labels=labels,
        image=image,
        views=ViewSpec() if start is None else start.views,
        encoder=None if start is None or encoder is None else encoder_of(start, encoder),
        calibration=calibration,
        trained=trained,
    )
    header = {"config": to_mapping(config), "num_features": getattr(model, "num_features", 0)}
    return write_kept(folder / MODEL_FILE, tensors, said, calibration, **header)


def load_multimodal(folder: Path) -> Kept:
    """The classifier, whose network takes images, as it is not given tokens of them.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = folder / MODEL_FILE
    if not file.is_file():
        raise InputError(f"{folder}: has no {MODEL_FILE}; keep a classifier by {KEEPS}")
    from transformers import AutoConfig, AutoModel

    tensors, told, calibration, header = read_kept(file)
    config = header_value(file, header, "config", MultimodalConfig)
    num_features = header_value(file, header, "num_features", Annotated[int, Field(ge=0, le=65_536)])
    text_model: Any = AutoModel.from_config(
        AutoConfig.from_pretrained(folder / _TEXT, trust_remote_code=False), trust_remote_code=False
    )
    if getattr(text_model, "pooler", None) is not None:
        text_model.pooler = None
    model = MultimodalModel(
        text_model,
        num_labels=len(told.labels),
        num_features=num_features,
        num_image_tokens=config.image_tokens,
    )
    load_state(file, model, tensors, kind="its settings")
    if told.encoder is not None:
        model.encoder = TokenEncoder(load_kept_encoder(folder, told), config.grid)
    inputs = READOUTS[told.readout].inputs if told.readout in READOUTS else None
    tokenizer = stored_tokenizer(folder / _TEXT, is_own=config.text_model == SMALL)

    def read_texts(texts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        masked = [None] * len(texts) if inputs == "image" else texts
        tokens = tokenize(masked, tokenizer, max_tokens=config.max_tokens)
        return torch.from_numpy(tokens.ids).long(), torch.from_numpy(tokens.lengths)

    kept = kept_of(folder, model, told, calibration)
    return replace(kept, reads_images=told.encoder is not None, read_texts=read_texts)
