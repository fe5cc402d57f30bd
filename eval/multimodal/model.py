"""The multimodal network: words of the indication and tokens of the image in one transformer, a head on its first sign.

    [CLS] words [SEP] | image tokens, projected    ->    transformer    ->    head on [CLS]

Words come with the text model's own embeddings and positions. Image tokens are projected into the same space; they have
learned embeddings of place and of kind, and stand at position 0 for the text model, so that nothing depends on how long
a text is. What an example lacks is masked in every layer's attention: its weight is exactly 0.

Legend: B examples, T text tokens, N image tokens, F image features, W width, L labels.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from eval.multimodal.config import SMALL, MultimodalConfig
from eval.multimodal.tokenizer import REMEDY, TextTokenizer, not_there
from eval.multimodal.tokens import TokenEncoder
from shards.base.errors import InputError
from train.engine.optimizers import grouped


class MultimodalModel(nn.Module):
    """Text and image tokens to logits (B, L), in fp32 also under autocast.

    Args:
        text_model: a transformer of the BERT family, as :func:`build_text_model` gives it.
        num_features: F of the image tokens; 0 without any.
        num_image_tokens: N.
        encoder: gives tokens of images, where it is to be trained with the rest.
        seed: of what is new; the global random state is left as it was.
    """

    text_model: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        text_model: Any,
        *,
        num_labels: int,
        num_features: int = 0,
        num_image_tokens: int = 1,
        encoder: TokenEncoder | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.text_model = text_model
        self.encoder, self.num_features = encoder, num_features
        words = self.text_model.get_input_embeddings()
        self.first_position = _first_position(text_model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(self.text_model.config.hidden_size, num_labels)
            if num_features:
                width, scale = words.embedding_dim, float(words.weight.detach().std())
                self.register_buffer("mean", torch.zeros(num_features))
                self.register_buffer("std", torch.ones(num_features))
                self.norm = nn.LayerNorm(num_features)
                self.projection = nn.Linear(num_features, width)
                # Image tokens start at the scale of words: larger ones would drown positions and kinds.
                nn.init.normal_(self.projection.weight, std=scale / num_features**0.5)
                nn.init.zeros_(self.projection.bias)
                self.place_embedding = nn.Parameter(torch.randn(num_image_tokens, width) * scale)
                self.kind_embedding = nn.Parameter(torch.randn(width) * scale)

    def standardise(self, tokens: Tensor) -> None:
        """Takes mean and spread of training tokens (K, N, F), by which all are standardised from now on."""
        flat = tokens.flatten(0, 1).double()
        self.mean.copy_(flat.mean(dim=0))
        std = flat.std(dim=0, correction=0)
        self.std.copy_(torch.where(std > 1e-6 * std.max(), std, 1.0))

    def forward(self, image: Tensor | None, ids: Tensor, lengths: Tensor, has_image: Tensor | None = None) -> Tensor:
        """Logits (B, L).

        Args:
            image: tokens (B, N, F), or images (B, 1, H, W) where the model has an encoder; None: nobody has one.
            ids: (B, T) of text tokens, the first sign first; those from ``lengths`` (B,) on do not count.
            has_image: (B,) of bool; None: all have one. What ``image`` holds for the others does not count.
        """
        embedded = self.text_model.get_input_embeddings()(ids)  # (B, T, W)
        places = torch.arange(ids.shape[1], device=ids.device)
        present = places < lengths[:, None]  # (B, T)
        positions = (places + self.first_position).expand(len(ids), -1)
        if image is not None:
            tokens = self._image_tokens(image, has_image)  # (B, N, W)
            if has_image is None:
                has_image = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
            embedded = torch.cat([embedded, tokens.to(embedded.dtype)], dim=1)
            present = torch.cat([present, has_image[:, None].expand(-1, tokens.shape[1])], dim=1)
            at_first = positions.new_full(tokens.shape[:2], self.first_position)
            positions = torch.cat([positions, at_first], dim=1)
        hidden = self.text_model(
            inputs_embeds=embedded, attention_mask=present.long(), position_ids=positions
        ).last_hidden_state
        with torch.autocast(ids.device.type, enabled=False):
            logits: Tensor = self.head(hidden[:, 0].float())
        return logits

    def _image_tokens(self, image: Tensor, has_image: Tensor | None) -> Tensor:
        if self.encoder is not None:
            image = self.encoder(image)
        tokens = image.float()
        if has_image is not None:
            tokens = torch.where(has_image[:, None, None], tokens, 0.0)  # zero times NaN would be NaN
        tokens = self.projection(self.norm((tokens - self.mean) / self.std))
        return tokens + self.place_embedding + self.kind_embedding


def build_text_model(config: MultimodalConfig, tokenizer: TextTokenizer) -> nn.Module:
    """The transformer: a small one from scratch, or a checkpoint by name or folder, without its pooler.

    Raises:
        InputError: a checkpoint that is not there, or is no encoder of the BERT family, or too short for the texts.
    """
    return _small(config, tokenizer) if config.text_model == SMALL else _pretrained(config, tokenizer)


def _small(config: MultimodalConfig, tokenizer: TextTokenizer) -> nn.Module:
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model: nn.Module = BertModel(
            BertConfig(
                vocab_size=tokenizer.size,
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=4 * config.width,
                max_position_embeddings=config.max_tokens,
                type_vocab_size=1,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=0.0,  # a third of a step's time on a CPU
                pad_token_id=tokenizer.padding,
            ),
            add_pooling_layer=False,
        )
    return model


def _pretrained(config: MultimodalConfig, tokenizer: TextTokenizer) -> nn.Module:
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # it lists the weights of heads that nobody asked for
    logging.disable_progress_bar()
    name = config.text_model
    try:
        model: Any = AutoModel.from_pretrained(
            name, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )  # no code of its own, no pickle
    except (OSError, ValueError, ImportError) as error:
        raise not_there(name, error) from None
    takes = inspect.signature(model.forward).parameters
    is_encoder = not (getattr(model.config, "is_encoder_decoder", False) or getattr(model.config, "is_decoder", False))
    if not is_encoder or not {"inputs_embeds", "attention_mask", "position_ids"} <= set(takes):
        raise InputError(f"multimodal.text_model {name}: {model.config.model_type} is no BERT-like encoder; {REMEDY}")
    if tokenizer.size > model.get_input_embeddings().num_embeddings:
        raise InputError(f"multimodal.text_model {name}: its tokenizer has more words than the model; {REMEDY}")
    longest = getattr(model.config, "max_position_embeddings", config.max_tokens) - _first_position(model)
    if config.max_tokens > longest:
        raise InputError(f"multimodal.max_tokens {config.max_tokens}: {name} takes texts of at most {longest}")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # would be trained by nothing
    return model.train()


def _first_position(text_model: nn.Module) -> int:
    """The position of the first token: RoBERTa and its kin count from behind their padding's."""
    positions = getattr(getattr(text_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def parameter_groups(model: MultimodalModel, config: MultimodalConfig) -> list[dict[str, Any]]:
    """What is trained, by learning rate and decay: each group's ``factor`` is its share of ``lr``, 1 for what is new,
    ``text_factor`` for a pretrained text model, ``encoder_factor`` for the image encoder."""

    def settings(name: str, parameter: nn.Parameter) -> dict[str, float]:
        factor = 1.0
        if name.startswith("encoder."):
            factor = config.encoder_factor
        elif name.startswith("text_model.") and config.text_model != SMALL:
            factor = config.text_factor
        decay = config.weight_decay if parameter.ndim > 1 and "embedding" not in name else 0.0
        return {"factor": factor, "weight_decay": decay, "lr": config.lr * factor}

    return grouped(model.named_parameters(), settings)
