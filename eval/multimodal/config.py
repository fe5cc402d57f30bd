"""Settings of the multimodal classifier. Free of torch, so that command lines start at once."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from eval.training.config import Batch, Clipping, Epochs, TrainingConfig
from shards.base.bounds import Count, PositiveCount, Rate, RateOrZero, Share, ShareBelowOne, SmallSeed, Width

SMALL = "small"


@dataclass(frozen=True, kw_only=True)
class MultimodalConfig(TrainingConfig):
    """A transformer over image tokens and the words of the indication.

    The closest public recipe (github.com/jacenkow/mmbt, MMBT after Kiela et al. 2019, arXiv 1909.02950) is BERT-base
    with class-weighted BCE, AdamW 5e-5, weight decay 1e-2, linear warm-up and batches of 32. The rates here are its
    own for what is pretrained, and ten times that for what is new.
    """

    section = "multimodal"

    text_model: str = SMALL
    """``small``: a transformer from scratch, with a vocabulary of the training texts. Else a BERT-like checkpoint of
    Hugging Face, by name or as a local folder."""
    image_tokens: Annotated[int, Field(ge=1, le=65_536)] = 4
    """Tokens an image: 1 is the encoder's pooled feature, 4, 9, 16, 49 are grids of its last map."""
    max_tokens: Annotated[int, Field(ge=3, le=65_536)] = 64
    """Tokens a text, the first and the last one's signs included; longer ones are cut."""
    image_encoder: Literal["frozen", "trained"] = "frozen"
    """``frozen``: image tokens are computed once. ``trained``: the encoder learns as well, on augmented images."""
    modality_dropout: ShareBelowOne = 0.0
    """Share of the training examples that lose one of their two inputs, drawn anew each epoch."""
    layers: Annotated[int, Field(ge=1, le=1000)] = 4
    """Of the small model, as the three below."""
    width: Width = 128
    heads: Width = 4
    vocabulary: Annotated[int, Field(ge=100, le=10_000_000)] = 4096
    """Word pieces at most."""
    dropout: ShareBelowOne = 0.1
    """Of the transformer's hidden states."""
    lr: Rate = 5e-4
    """Learning rate of what is new, at the top of the schedule; for AdamW."""
    text_factor: Share = 0.1
    """A pretrained text model learns at this share of ``lr``."""
    encoder_factor: Share = 0.1
    """The image encoder, where it is trained, learns at this share of it."""
    weight_decay: RateOrZero = 1e-2
    """Decoupled, for all but norms, biases and embeddings."""
    gradient_clipping: Clipping = 1.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: ShareBelowOne = 0.1
    batch_size: Batch = 32
    """Examples an optimiser step, over all processes; fewer where fewer are labelled."""
    epochs: Epochs | None = None
    """Passes over the labelled examples; default: about 5, 23, 107, 500 at 100, 10, 1, 0.1 % of the labels."""
    min_steps: Count = 600
    validations: PositiveCount = 20
    """How often the validation examples are scored, in even intervals."""
    average: PositiveCount = 1
    """Checkpoints, ranked for each label on the validation examples, whose probabilities are averaged."""
    class_weights: Literal["none", "balanced"] = "balanced"
    norm: Literal["auto", "frozen", "trained"] = "auto"
    """Batch norm of an image encoder that is trained; as in fine-tuning."""
    augmentation: Literal["moco_cxr", "crop_contrast", "moco_v2", "evaluation"] = "moco_cxr"
    """Preset of the views of an image encoder that is trained."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """``auto``: bf16 where the hardware has it and it is faster; on a CPU, not for narrow models."""
    keep_model: bool = False
    """Write the model, its vocabulary and, if trained, the image encoder into the cell's folder."""
    seed: SmallSeed = 0
    """Of the new weights, of the order of the examples, of dropout."""

    @property
    def grid(self) -> int:
        """Image tokens a side."""
        return math.isqrt(self.image_tokens)

    def check(self) -> None:
        super().check()
        is_square = self.grid**2 == self.image_tokens
        self.require("image_tokens", is_square, "a square number, as 1, 4, 9, 16 or 49")
        self.require("width", self.width % self.heads == 0, f"a multiple of the {self.heads} heads")
