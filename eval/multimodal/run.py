"""The multimodal classifier of one cell: trained on one draw, from one image encoder, on one choice of inputs.

In one process on one device, or in several that share each batch, under the deepspeed launcher. An interrupted cell
goes on from its folder's checkpoint. ``python -m benchmarks multimodal`` measures its steps.

Legend: M training, V validation, N test examples, L labels.
"""

import math
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

from eval.multimodal.build import Room, image_tokens, rows_by_part, with_encoder, with_tokens
from eval.multimodal.config import MultimodalConfig, check_multimodal
from eval.multimodal.feed import Texts
from eval.multimodal.file import save_multimodal
from eval.multimodal.model import build_text_model, parameter_groups
from eval.multimodal.text import TEXT_COLUMN, cached_tokens, texts_fingerprint, texts_of
from eval.multimodal.tokenizer import build_tokenizer, model_fingerprint
from eval.training.config import num_steps
from eval.training.launch import alone, launch, remove_empty
from eval.training.loop import Training, train
from eval.training.task import Finetuned, FinetuneTask, Work, fingerprint
from eval.words import Inputs
from shards.base.errors import InputError
from train.encoders.saved import LoadedEncoder
from train.engine.precision import Precision, resolve_precision
from train.ranks.world import World

_NARROW = 192  # below this width, casting to bf16 takes a CPU longer than it saves


def run_multimodal(
    start: LoadedEncoder | None,
    task: FinetuneTask,
    config: MultimodalConfig,
    folder: Path,
    *,
    inputs: Inputs,
    features: Path,
    device: str = "auto",
    title: str = "",
) -> Finetuned:
    """Trains a classifier of images and indications, which the task's index holds.

    Args:
        start: the image encoder, which is left as it is; None where ``inputs`` are ``text``, which need none.
        folder: of this cell alone: checkpoints while it runs and, by ``keep_model``, the model it ends with.
        inputs: ``image`` and ``text`` mask the other one, in training and in test.
        features: folder of image tokens and token numbers, shared by all cells.
        device: ``cpu``, ``cuda``, ``cuda:1``; auto: a GPU if there is one. Several processes take the GPUs in turn.
        title: of the progress bar.

    Returns:
        logits, with ``details`` as of a fine-tuning, and ``inputs``, ``texts`` (counts of each part's), ``vocabulary``,
        ``image_tokens`` and ``parameters``.

    Raises:
        InputError: settings out of range, no indications, a label with one class in the draw, a text model that cannot
            be loaded, an absent device, a loss that is not finite, or processes that failed.
        KeyboardInterrupt: it was asked to stop, and has written a checkpoint.
    """
    _check(start, task, config, inputs)
    work = Work(task=task, start=start, config=config, options={"inputs": inputs, "features": str(features.resolve())})
    if config.num_processes > 1:
        return launch(work, folder, mark=_mark(work), field="multimodal", device=device)
    result, _ = classify_work(work, folder, world=alone(device), title=title)
    remove_empty(folder)
    return result


def classify_work(work: Work, folder: Path, *, world: World, title: str = "") -> tuple[Finetuned, str]:
    """What :func:`run_multimodal` does, in this process among those of ``world``, and the fingerprint of the work."""
    task, config = work.task, work.config
    assert isinstance(config, MultimodalConfig)
    inputs, features = _inputs(work), Path(work.options["features"])
    _check(work.start, task, config, inputs)
    start = None if inputs == "text" else work.start
    words = [text for text in _texts(task, inputs)["train"] if text]
    tokenizer = build_tokenizer(config.text_model, words, vocabulary=config.vocabulary)
    tokens = {
        part: cached_tokens(features, texts, tokenizer, max_tokens=config.max_tokens)
        for part, texts in _texts(task, inputs).items()
    }
    text_model = build_text_model(config, tokenizer)
    mark = _mark(work)
    batch_size = math.ceil(min(config.batch_size, len(task.train_rows)) / world.size)
    with ExitStack() as stack:
        room = Room(
            task=task,
            config=config,
            texts={
                part: Texts(
                    each,
                    inputs=inputs,
                    device=world.device,
                    dropout=config.modality_dropout if part == "train" else 0.0,
                    seed=config.seed,
                )
                for part, each in tokens.items()
            },
            batch_size=batch_size,
            precision=_precision(config, text_model, world),
            world=world,
            stack=stack,
        )
        if start is not None and config.image_encoder == "trained":
            built = with_encoder(room, start, text_model)
        else:
            image = image_tokens(start, task, config, features, world.device)
            built = with_tokens(room, image, text_model)
        training = Training(
            model=built.model,
            groups=parameter_groups(built.model, config),
            feed=built.feed,
            valid=built.valid,
            test=built.test,
            to_train_mode=built.to_train_mode,
            batch_size=batch_size,
            steps=num_steps(config, fraction=task.fraction, num_images=len(task.train_rows)),
            precision=room.precision,
            field="multimodal",
            mark=mark,
        )
        result = train(training, task, config, folder, world=world, title=title or "multimodal")
    if world.leads and config.keep_model:
        save_multimodal(folder, built.model, tokenizer, start, config, labels=task.labels)
    result.details["pairs_per_second"] = result.details.pop("images_per_second")
    result.details.update(
        inputs=inputs,
        texts={part: asdict(each.counts) for part, each in tokens.items()},
        vocabulary=tokenizer.size,
        image_tokens=0 if start is None else config.image_tokens,
        parameters=sum(parameter.numel() for parameter in built.model.parameters()),
    )
    return result, mark


def _check(start: LoadedEncoder | None, task: FinetuneTask, config: MultimodalConfig, inputs: Inputs) -> None:
    check_multimodal(config)
    task.check()
    if start is None and inputs != "text":
        raise InputError(f"inputs {inputs}: need an image encoder; name a start, or give the text alone")
    texts = _texts(task, inputs)["train"]
    if inputs != "image" and not any(text and text.strip() for text in texts):
        raise InputError(f"inputs {inputs}: none of the {len(texts)} training images has an indication; give image")


def _texts(task: FinetuneTask, inputs: Inputs) -> dict[str, list[str | None]]:
    """By part. Images alone need none; where there are some, the network has their vocabulary all the same."""
    parts = {part: task.select(rows) for part, rows in rows_by_part(task).items()}
    if inputs == "image" and TEXT_COLUMN not in task.index.table.column_names:
        return {part: [None] * len(index) for part, index in parts.items()}
    return {part: texts_of(index) for part, index in parts.items()}


def _inputs(work: Work) -> Inputs:
    found = work.options["inputs"]
    if found not in get_args(Inputs):
        raise InputError(f"inputs {found}: unknown; give {', '.join(get_args(Inputs))}")
    return cast(Inputs, found)


def _mark(work: Work) -> str:
    """The fingerprint of the work."""
    inputs = _inputs(work)
    texts = [texts_fingerprint(texts) for texts in _texts(work.task, inputs).values()]
    model = model_fingerprint(cast(MultimodalConfig, work.config).text_model)
    return fingerprint(work.task, None if inputs == "text" else work.start, work.config, inputs, model, *texts)


def _precision(config: MultimodalConfig, text_model: Any, world: World) -> Precision:
    is_small = config.image_encoder == "frozen" and text_model.config.hidden_size < _NARROW
    if config.precision == "fp32" or (config.precision == "auto" and is_small and world.device.type == "cpu"):
        return "fp32"
    precision = resolve_precision(config.precision, world.device)
    return "fp32" if precision == "fp16" else precision  # would need its loss scaled
