"""A trained multimodal classifier as a folder, and back.

FOLDER/multimodal.safetensors    all weights but the image encoder's, with labels and settings in the header
FOLDER/text/                     the text model's configuration and its tokenizer
FOLDER/encoder.safetensors       the image encoder, where it was trained, as a run leaves it
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eval.multimodal.config import MultimodalConfig
from eval.multimodal.model import MultimodalModel
from eval.multimodal.tokenizer import TextTokenizer
from shards.base.dataclass_io import to_mapping
from shards.base.errors import InputError
from train.encoders.file import FILES, header_value, load_state, read_tensors, write_tensors
from train.encoders.saved import LoadedEncoder, save_encoder

MODEL_FILE, _TEXT = "multimodal.safetensors", "text"
_ENCODER = "encoder.encoder."


def save_multimodal(
    folder: Path,
    model: MultimodalModel,
    tokenizer: TextTokenizer,
    start: LoadedEncoder | None,
    config: MultimodalConfig,
    *,
    labels: tuple[str, ...],
) -> None:
    """Writes what :func:`load_multimodal` reads."""
    (folder / _TEXT).mkdir(parents=True, exist_ok=True)
    if model.encoder is not None and start is not None:
        norm = start.metadata.get("norm", "batch")
        save_encoder(folder / FILES["query"], model.encoder.encoder, name=start.name, views=start.views, norm=norm)
    tensors = {name: value for name, value in model.state_dict().items() if not name.startswith(_ENCODER)}
    header = {"labels": labels, "config": to_mapping(config), "num_features": getattr(model, "num_features", 0)}
    model.text_model.config.save_pretrained(folder / _TEXT)
    save = getattr(tokenizer.backend, "save_pretrained", None)
    if save is not None:
        save(folder / _TEXT)
    else:
        tokenizer.backend.save(str(folder / _TEXT / "tokenizer.json"))
    write_tensors(folder / MODEL_FILE, tensors, header)


def load_multimodal(folder: Path) -> tuple[MultimodalModel, tuple[str, ...], MultimodalConfig]:
    """The model in evaluation mode, for image tokens, its labels and its settings.

    The image encoder, frozen or trained, is a :class:`eval.multimodal.tokens.TokenEncoder` of its own file.

    Raises:
        InputError: there is none.
    """
    if not (folder / MODEL_FILE).is_file():
        raise InputError(f"{folder}: has no {MODEL_FILE}; give the folder of a cell that was trained with keep_model")
    from transformers import AutoConfig, AutoModel

    file = folder / MODEL_FILE
    tensors, header = read_tensors(file)
    labels = header_value(file, header, "labels", tuple[str, ...])
    config = header_value(file, header, "config", MultimodalConfig)
    num_features = header_value(file, header, "num_features", Annotated[int, Field(ge=0, le=65_536)])
    text_model: Any = AutoModel.from_config(
        AutoConfig.from_pretrained(folder / _TEXT, trust_remote_code=False), trust_remote_code=False
    )
    if getattr(text_model, "pooler", None) is not None:
        text_model.pooler = None
    model = MultimodalModel(
        text_model,
        num_labels=len(labels),
        num_features=num_features,
        num_image_tokens=config.image_tokens,
    )
    load_state(file, model, tensors, kind="its settings")
    return model.eval(), labels, config
