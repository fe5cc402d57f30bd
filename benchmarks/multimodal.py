"""Training of the multimodal classifier on a frozen encoder's image tokens: pairs of image and text a second.

    python -m benchmarks multimodal --quick
    python -m benchmarks multimodal --device cuda --width 128 384 768

Steps as :mod:`eval.multimodal.run` takes them, batches, loss and optimiser included, on random tokens: texts all of
one length, or of 4 words up to it, as indications are, of which a batch is cut to its longest. Variants take turns.

Expect some 360 pairs a second on two cores at the default width and 32 text tokens, 150 at
width 256; bf16 gives 0.8 of that at width 128, where casting takes longer than it saves, and 1.1 times it at 256.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from benchmarks.measuring.result import Comparison
from benchmarks.measuring.timing import time_variants
from benchmarks.settings import MultimodalBenchConfig
from eval.multimodal.config import MultimodalConfig
from eval.multimodal.feed import Texts, TokenFeed
from eval.multimodal.model import MultimodalModel, build_text_model, parameter_groups
from eval.multimodal.text import TextCounts, Tokens
from eval.multimodal.tokenizer import build_tokenizer
from eval.training.engine import build_engine
from eval.training.feed import Examples
from eval.training.loop import masked_loss
from pipeline.device import find_device
from pipeline.upload import upload
from train.engine.precision import Precision
from train.ranks.world import World

_NUM_LABELS = 14
_NUM_FEATURES = 512  # of a ResNet18
_SHORTEST = 6  # tokens: four words and the two signs


def run(config: MultimodalBenchConfig) -> Iterator[Comparison]:
    """Checks and measures.

    Raises:
        InputError: settings out of range.
    """
    if config.quick:
        config = replace(config, pairs=2000, width=config.width[:1], turns=3, steps=5)
    for width in config.width:
        yield _compare(config, width)


def _compare(config: MultimodalBenchConfig, width: int) -> Comparison:
    settings = MultimodalConfig(
        layers=config.layers,
        width=width,
        max_tokens=config.tokens,
        image_tokens=config.image_tokens,
        batch_size=config.batch,
    )
    settings.check()
    world = World(rank=0, size=1, local_rank=0, device=find_device(config.device, field="--device"))
    random = np.random.default_rng(0)
    image = random.standard_normal((config.pairs, config.image_tokens, _NUM_FEATURES), dtype=np.float32)
    image = image.astype(np.float16)
    longest = np.full(config.pairs, config.tokens)
    varied = random.integers(min(_SHORTEST, config.tokens), config.tokens + 1, size=config.pairs)
    variants: dict[str, Callable[[], object]] = {}
    cases: tuple[tuple[str, np.ndarray, Precision], ...] = (
        (f"{config.tokens} text tokens, fp32", longest, "fp32"),
        (f"{config.tokens} text tokens, bf16", longest, "bf16"),
        (f"{_SHORTEST}-{config.tokens} text tokens, fp32", varied, "fp32"),
    )
    for name, lengths, precision in cases:
        variants[name] = _steps(settings, image, lengths, precision, world, num_steps=config.steps)
    return Comparison(
        title=f"multimodal training, {config.layers} layers, width {width}, {config.device}",
        work=f"{config.steps} steps of {config.batch} pairs of {config.pairs:,}, {config.image_tokens} image tokens",
        rate=float(config.steps * config.batch),
        unit="pairs",
        timings=time_variants(variants, turns=config.turns, device=world.device),
        remarks=(f"{torch.get_num_threads()} threads; dropout {settings.dropout}; vocabulary {settings.vocabulary:,}",),
        are_rivals=False,
    )


def _steps(
    settings: MultimodalConfig,
    image: np.ndarray,
    lengths: np.ndarray,
    precision: Precision,
    world: World,
    *,
    num_steps: int,
) -> Callable[[], object]:
    """A call that takes so many steps of a training of its own."""
    random = np.random.default_rng(1)
    tokenizer = replace(build_tokenizer("small", [], vocabulary=settings.vocabulary), size=settings.vocabulary)
    ids = random.integers(5, settings.vocabulary, size=(len(image), settings.max_tokens), dtype=np.int32)
    counts = TextCounts(
        num_texts=len(ids), num_empty=0, num_truncated=0, num_foreign=0, num_tokens=ids.size, num_unknown=0
    )
    texts = Texts(Tokens(ids=ids, lengths=lengths, counts=counts), inputs="both", device=world.device)
    feed = TokenFeed(texts, image, batch_size=settings.batch_size, seed=0, world=world)
    model = MultimodalModel(
        build_text_model(settings, tokenizer),
        num_labels=_NUM_LABELS,
        num_features=image.shape[2],
        num_image_tokens=settings.image_tokens,
    ).to(world.device)
    engine = build_engine(
        model.train(),
        parameter_groups(model, settings),
        precision=precision,
        clipping=settings.gradient_clipping,
        batch_size=settings.batch_size,
        world=world,
    )
    labels = torch.from_numpy(random.integers(0, 2, size=(len(ids), _NUM_LABELS)).astype(np.float32))
    batches = _endless(feed)

    def take() -> None:
        for examples in islice(batches, num_steps):
            targets = upload(labels[examples.positions], world.device)
            loss, count = masked_loss(engine(*examples.inputs), targets)
            engine.backward(loss / count)
            engine.step()

    return take


def _endless(feed: TokenFeed) -> Iterator[Examples]:
    while True:
        yield from feed
