"""Whole multimodal trainings on a small dataset where the label is told by image and text together, and by neither."""

import dataclasses
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import eval.training.loop
from eval.multimodal.config import MultimodalConfig
from eval.multimodal.file import load_multimodal
from eval.multimodal.run import run_multimodal
from eval.stats.metrics import auroc
from eval.training.task import Trained, TrainingTask
from eval.words import Inputs
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder

SIZES = {"train": 160, "valid": 60, "test": 100}
SHORT = MultimodalConfig(
    layers=1,
    width=16,
    heads=2,
    vocabulary=120,
    max_tokens=8,
    image_tokens=4,
    batch_size=16,
    lr=5e-3,
    min_steps=6,
    max_steps=6,
    validations=3,
    patience=0,
    precision="fp32",
    checkpoint_every=2,
)
LEARNS = dataclasses.replace(SHORT, min_steps=100, max_steps=100, validations=4)


class Brightness(nn.Module):
    """A map of mean brightness: what a frozen encoder may see."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.AvgPool2d(6, 6)
        self.conv1 = self.bn1 = self.relu = self.maxpool = self.layer1 = self.layer2 = nn.Identity()
        self.layer3 = nn.Conv2d(1, 4, 1)
        with torch.no_grad():
            self.layer3.weight.copy_(torch.tensor([1.0, -1.0, 0.5, 2.0]).reshape(4, 1, 1, 1))
            self.layer3.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer4(self.layer3(images)).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def start() -> LoadedEncoder:
    return LoadedEncoder(encoder=Brightness(), name="tiny", views=ViewSpec(size=24, mean=0.4, std=0.2), metadata={})


@pytest.fixture(scope="module")
def resnet() -> LoadedEncoder:
    views = ViewSpec(size=32, mean=0.4, std=0.2)
    return LoadedEncoder(encoder=build_encoder("resnet18", seed=0), name="resnet18", views=views, metadata={})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed images, half of them with a bright corner; an indication that says ``cough`` or ``fall``."""
    root = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    for split, count in SIZES.items():
        for number in range(count):
            name = "bright" if number % 2 else "dark"
            pixels = random.integers(60, 120, size=(24, 24))
            pixels[:12, :12] += 60 * (name == "bright")
            path = root / "source" / split / name / f"{split}{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    output = root / "pairs"
    build_dataset(BuildConfig(source="folder", input=root / "source", output=output, format="png", workers=1))
    count = len(ShardIndex.open(output))
    words = [f"___ year old with {random.choice(['cough', 'fall'])}" for _ in range(count)]
    write_texts(output, [None if number % 29 == 0 else text for number, text in enumerate(words)])
    return output


def write_texts(dataset: Path, texts: list[str | None]) -> None:
    table = pq.read_table(dataset / "index.parquet")
    column = pa.array(texts, pa.string())
    if "indication" in table.column_names:
        table = table.set_column(table.column_names.index("indication"), "indication", column)
    else:
        table = table.append_column("indication", column)
    pq.write_table(table, dataset / "index.parquet")


def copied(dataset: Path, folder: Path) -> Path:
    return Path(shutil.copytree(dataset, folder))


def make_task(dataset: Path, index: ShardIndex | None = None) -> TrainingTask:
    """``both`` is bright and cough, ``either`` its opposite; the truth is that of ``dataset``'s own texts."""
    truth = ShardIndex.open(dataset)
    has_cough = np.array(["cough" in (text or "") for text in truth.column("indication")])
    both = (truth.labels("bright") == 1) & has_cough
    labels = np.stack([both, ~both], axis=1).astype(np.float32)
    rows = {split: truth.where(split=split).rows for split in SIZES}
    task = TrainingTask(
        index=index or truth,
        labels=("both", "either"),
        fraction=1.0,
        train_rows=rows["train"],
        train_labels=labels[rows["train"]],
        valid_rows=rows["valid"],
        valid_labels=labels[rows["valid"]],
        test_rows=rows["test"],
    )
    task.train_labels[3, 1] = np.nan
    return task


@pytest.fixture(scope="module")
def task(dataset: Path) -> TrainingTask:
    return make_task(dataset)


@pytest.fixture(scope="module")
def truth(dataset: Path, task: TrainingTask) -> np.ndarray:
    texts = np.array(["cough" in (text or "") for text in task.index.column("indication")])
    return ((task.index.labels("bright") == 1) & texts)[task.test_rows].astype(np.float32)


Run = Callable[..., Trained]


@pytest.fixture
def run(start: LoadedEncoder, task: TrainingTask, tmp_path: Path) -> Run:
    def go(config: MultimodalConfig = SHORT, *, inputs: Inputs = "both", name: str = "cell", **more: Any) -> Trained:
        given: dict[str, Any] = {"task": task, "start": None if inputs == "text" else start, "device": "cpu"} | more
        return run_multimodal(
            given.pop("start"),
            given.pop("task"),
            config,
            tmp_path / name,
            inputs=inputs,
            features=tmp_path / "features",
            **given,
        )

    return go


def same(one: Trained, other: Trained) -> bool:
    return np.array_equal(one.test_scores, other.test_scores) and np.array_equal(one.valid_scores, other.valid_scores)


def test_both_inputs_tell_more_than_each(run: Run, truth: np.ndarray, tmp_path: Path) -> None:
    results = {inputs: run(LEARNS, inputs=inputs) for inputs in ("both", "image", "text")}
    found = {inputs: auroc(truth, result.test_scores[:, 0]) for inputs, result in results.items()}
    assert found["both"] > 0.97
    assert 0.7 < found["image"] < 0.92
    assert 0.7 < found["text"] < 0.92
    assert auroc(1 - truth, results["both"].test_scores[:, 1]) > 0.97
    details = results["both"].details
    assert details["steps"] == 100
    assert details["image_tokens"] == 4
    assert details["texts"]["train"]["num_texts"] == 160
    assert details["texts"]["train"]["num_empty"] > 0
    assert details["pairs_per_second"] > 0
    assert results["both"].valid_scores.shape == (60, 2)
    assert not (tmp_path / "cell").exists()


def test_texts_of_other_patients_tell_nothing(run: Run, dataset: Path, truth: np.ndarray, tmp_path: Path) -> None:
    other = copied(dataset, tmp_path / "shuffled")
    texts = list(ShardIndex.open(dataset).column("indication"))
    write_texts(other, list(np.random.default_rng(1).permutation(np.array(texts, dtype=object))))
    shuffled = make_task(dataset, ShardIndex.open(other))
    by_both = auroc(truth, run(LEARNS, task=shuffled).test_scores[:, 0])
    by_text = auroc(truth, run(LEARNS, inputs="text", task=shuffled).test_scores[:, 0])
    assert by_both < 0.92, "what the image alone gives"
    assert 0.3 < by_text < 0.65


def test_what_is_masked_teaches_nothing(
    run: Run, dataset: Path, task: TrainingTask, start: LoadedEncoder, tmp_path: Path
) -> None:
    """With the texts of other patients, or another image encoder, what does without them is the same to the bit."""
    other = copied(dataset, tmp_path / "other")
    texts = np.array(ShardIndex.open(dataset).column("indication"), dtype=object)
    texts[task.train_rows] = texts[task.train_rows][::-1]  # the same words, and so the same network
    write_texts(other, list(texts))
    changed = dataclasses.replace(task, index=ShardIndex.open(other))
    assert same(run(inputs="image"), run(inputs="image", task=changed))
    assert not same(run(), run(task=changed))
    assert same(run(inputs="text"), run(inputs="text", start=start))


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(SHORT, dropout=0.2, modality_dropout=0.5, average=2)
    whole = run(config, name="whole")
    assert same(whole, run(config, name="again"))
    assert not same(whole, run(dataclasses.replace(config, modality_dropout=0.0), name="other"))
    real, calls, stops = eval.training.loop.masked_loss, [], []
    made = eval.training.loop.Stop

    def signalled(*arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            while not stops[-1]._asked:
                pass
        return real(*arguments)

    monkeypatch.setattr(eval.training.loop, "Stop", lambda world: stops.append(made(world)) or stops[-1])
    monkeypatch.setattr(eval.training.loop, "masked_loss", signalled)
    with pytest.raises(KeyboardInterrupt):
        run(config, name="stopped")
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["step-00000003"]
    resumed = run(config, name="stopped")
    assert len(calls) == 6, "three steps were left"
    assert same(whole, resumed)


def test_image_tokens_are_computed_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run()
    monkeypatch.setattr("eval.multimodal.tokens.extract_features", lambda *given, **more: pytest.fail("computed again"))
    assert same(first, run())


def test_the_image_encoder_can_be_trained(run: Run, truth: np.ndarray, start: LoadedEncoder, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in start.encoder.state_dict().items()}
    config = dataclasses.replace(
        LEARNS, image_encoder="trained", encoder_factor=1.0, augmentation="evaluation", modality_dropout=0.2
    )
    result = run(config)
    assert auroc(truth, result.test_scores[:, 0]) > 0.95
    after = start.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the start is left as it was"


@pytest.mark.parametrize("image_encoder", ["frozen", "trained"])
def test_the_model_can_be_kept(run: Run, resnet: LoadedEncoder, tmp_path: Path, image_encoder: Any) -> None:
    resnet = LoadedEncoder(
        encoder=build_encoder("resnet18", seed=0),
        name="resnet18",
        views=ViewSpec(size=32, mean=0.4, std=0.2),
        metadata={},
    )
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


def test_what_cannot_be_learnt_is_one_clear_line(run: Run, dataset: Path, task: TrainingTask, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"multimodal\.image_tokens 5"):
        run(dataclasses.replace(SHORT, image_tokens=5))
    with pytest.raises(InputError, match=r"multimodal\.image_tokens 49: .* 4 x 4 places; give at most 16"):
        run(dataclasses.replace(SHORT, image_tokens=49))
    with pytest.raises(InputError, match="inputs both: need an image encoder"):
        run(start=None)
    with pytest.raises(InputError, match=r"multimodal\.lr: the (loss is|scores are) not finite"):
        run(dataclasses.replace(SHORT, lr=1e30, gradient_clipping=0.0))
    with pytest.raises(InputError, match=r"text_model /none: no such folder"):
        run(dataclasses.replace(SHORT, text_model="/none"))


def test_images_without_any_text(run: Run, task: TrainingTask, dataset: Path, tmp_path: Path) -> None:
    bare = copied(dataset, tmp_path / "bare")
    table = pq.read_table(bare / "index.parquet")
    pq.write_table(table.drop_columns("indication"), bare / "index.parquet")
    without = dataclasses.replace(task, index=ShardIndex.open(bare))
    assert run(inputs="image", task=without).details["vocabulary"] == 5
    with pytest.raises(InputError, match="no column 'indication'"):
        run(task=without)
    write_texts(bare, [None] * len(table))
    with pytest.raises(InputError, match="none of the 160 training images has an indication"):
        run(task=dataclasses.replace(task, index=ShardIndex.open(bare)))


@pytest.mark.slow
@pytest.mark.parametrize("image_encoder", ["frozen", "trained"])
def test_two_processes_give_what_one_gives(run: Run, resnet: LoadedEncoder, tmp_path: Path, image_encoder: Any) -> None:
    resnet = LoadedEncoder(
        encoder=build_encoder("resnet18", seed=0),
        name="resnet18",
        views=ViewSpec(size=32, mean=0.4, std=0.2),
        metadata={},
    )
    config = dataclasses.replace(
        SHORT, image_encoder=image_encoder, image_tokens=1, dropout=0.0, modality_dropout=0.4, lr=1e-3, norm="frozen"
    )
    alone = run(config, start=resnet, name="alone")
    together = run(dataclasses.replace(config, num_processes=2), start=resnet, name="together")
    assert np.allclose(alone.test_scores, together.test_scores, atol=2e-3)
    assert np.allclose(alone.valid_scores, together.valid_scores, atol=2e-3)
    assert together.details["inputs"] == "both"
    assert not (tmp_path / "together").exists()
