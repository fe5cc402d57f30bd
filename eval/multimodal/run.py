"""The multimodal classifier of one cell: trained on one draw, from one image encoder, on one choice of inputs.

In one process on one device, or in several that share each batch, each of which has this module for its program
(:mod:`eval.training.launch`). An interrupted cell goes on from its folder's checkpoint. ``python -m benchmarks
multimodal`` measures its steps.

Legend: M training, V validation, N test examples, L labels.
"""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from eval.multimodal.build import build_training, images_by_part
from eval.multimodal.config import MultimodalConfig
from eval.multimodal.feed import Texts
from eval.multimodal.file import save_multimodal
from eval.multimodal.model import MultimodalModel, build_text_model
from eval.multimodal.text import TEXT_COLUMN, cached_tokens, texts_fingerprint, texts_of
from eval.multimodal.tokenizer import build_tokenizer, model_fingerprint
from eval.readouts.registry import Inputs
from eval.training.engine import scaleless_precision
from eval.training.keeping import KEPT, calibrated, of_training
from eval.training.launch import run_process, run_work
from eval.training.loop import train
from eval.training.task import Trained, TrainingTask, Work, fingerprint
from shards.base.errors import InputError
from train.encoders.saved import LoadedEncoder
from train.engine.precision import Precision
from train.ranks.world import World

_NARROW = 192  # below this width, casting to bf16 takes a CPU longer than it saves


def run_multimodal(
    start: LoadedEncoder | None,
    task: TrainingTask,
    config: MultimodalConfig,
    folder: Path,
    *,
    inputs: Inputs,
    features: Path,
    device: str = "auto",
    title: str = "multimodal",
) -> Trained:
    """Trains a classifier of images and indications, which the task's index holds.

    Args:
        start: the image encoder, which is left as it is; None where ``inputs`` are ``text``, which need none.
        folder, device, title: see :func:`eval.training.launch.run_work`.
        inputs: ``image`` and ``text`` mask the other one, in training and in test.
        features: folder of image tokens and token numbers, shared by all cells.

    Returns:
        logits, with ``details`` as of a fine-tuning, and ``inputs``, ``texts`` (counts of each part's), ``vocabulary``,
        ``image_tokens`` and ``parameters``.

    Raises:
        InputError: settings out of range, no indications, a label with one class in the draw, a text model that cannot
            be loaded, an absent device, a loss that is not finite, or processes that failed.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    config.check()
    task.check()
    if start is None and inputs != "text":
        raise InputError(f"inputs {inputs}: need an image encoder; name a start, or give the text alone")
    texts = _texts(task, inputs)
    if inputs != "image" and not any(text and text.strip() for text in texts["train"]):
        number = len(texts["train"])
        raise InputError(f"inputs {inputs}: none of the {number} training images has an indication; give image")
    start = None if inputs == "text" else start
    more = (inputs, model_fingerprint(config.text_model), *map(texts_fingerprint, texts.values()))
    work = Work(
        task=task,
        start=start,
        config=config,
        mark=fingerprint(task, start, config, *more),
        options={"inputs": inputs, "features": str(features.resolve())},
    )
    return run_work(work, folder, _classify, module=__name__, device=device, title=title)


def _classify(work: Work[MultimodalConfig], folder: Path, *, world: World, title: str) -> Trained:
    config, inputs, features = work.config, cast(Inputs, work.options["inputs"]), Path(work.options["features"])
    texts = _texts(work.task, inputs)
    words = [text for text in texts["train"] if text]
    tokenizer = build_tokenizer(config.text_model, words, vocabulary=config.vocabulary)
    tokens = {
        part: cached_tokens(features, each, tokenizer, max_tokens=config.max_tokens) for part, each in texts.items()
    }
    feeds = {
        part: Texts(
            each,
            inputs=inputs,
            device=world.device,
            dropout=config.modality_dropout if part == "train" else 0.0,
            seed=config.seed,
        )
        for part, each in tokens.items()
    }
    text_model = build_text_model(config, tokenizer)
    precision = _precision(config, text_model, world)
    with ExitStack() as stack:
        training = build_training(work, feeds, text_model, features, precision=precision, world=world, stack=stack)
        result = train(training, work, folder, world=world, title=title)
        calibration = calibrated(training, work) if config.keep_model else None
    model = training.model
    assert isinstance(model, MultimodalModel)
    if world.leads and calibration is not None:
        result.details[KEPT] = save_multimodal(
            folder,
            model,
            tokenizer,
            work.start,
            config,
            inputs=inputs,
            labels=work.task.labels,
            calibration=calibration,
            **of_training(work),
        )
    result.details["pairs_per_second"] = result.details.pop("images_per_second")
    result.details.update(
        inputs=inputs,
        texts={part: asdict(each.counts) for part, each in tokens.items()},
        vocabulary=tokenizer.size,
        image_tokens=0 if work.start is None else config.image_tokens,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    return result


def _texts(task: TrainingTask, inputs: Inputs) -> dict[str, list[str | None]]:
    """By part. Images alone need none; where there are some, the network has their vocabulary all the same."""
    parts = images_by_part(task)
    if inputs == "image" and TEXT_COLUMN not in task.index.table.column_names:
        return {part: [None] * len(index) for part, index in parts.items()}
    return {part: texts_of(index) for part, index in parts.items()}


def _precision(config: MultimodalConfig, text_model: Any, world: World) -> Precision:
    is_small = config.image_encoder == "frozen" and text_model.config.hidden_size < _NARROW
    if config.precision == "fp32" or (config.precision == "auto" and is_small and world.device.type == "cpu"):
        return "fp32"
    return scaleless_precision(config.precision, world.device)


if __name__ == "__main__":
    run_process(_classify, MultimodalConfig)
