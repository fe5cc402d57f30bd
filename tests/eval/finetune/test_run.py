"""Whole fine-tunings on the tiny dataset: they learn, stop, go on, average, and refuse what they cannot learn from."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import eval.training.loop
from eval.classifier.calibration import calibrate
from eval.classifier.file import load_image_classifier
from eval.classifier.network import ImageClassifier
from eval.finetune.config import FinetuneConfig
from eval.finetune.run import run_finetune
from eval.stats.metrics import auroc
from eval.training.images import ImageScorer
from eval.training.task import Trained, TrainingTask
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.index import ShardIndex
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder, load_encoder
from train.encoders.seen import Seen, load_seen, seen_in
from train.engine.torch_engine import TorchEngine
from train.ranks.world import World

LABELS = ("blob", "clear")
ALONE = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
SHORT = FinetuneConfig(
    batch_size=8, max_steps=6, min_steps=6, validations=3, patience=0, precision="fp32", checkpoint_every=2
)


def with_statistics(encoder: nn.Module) -> nn.Module:
    """Gives it running statistics, as a pretrained encoder has them."""
    images = torch.randn(32, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoder.train()(images)
    return encoder.eval()


def tiny_encoder() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 12, 5, stride=2), nn.BatchNorm2d(12), nn.ReLU()]
        layers += [nn.Conv2d(12, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU()]
        encoder: Any = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
    encoder.num_features = 16
    return encoder


@pytest.fixture(scope="module")
def start() -> LoadedEncoder:
    views = ViewSpec(size=32, mean=0.4, std=0.2)
    return LoadedEncoder(encoder=with_statistics(tiny_encoder()), name="tiny", views=views, metadata={})


@pytest.fixture(scope="module")
def resnet(start: LoadedEncoder) -> LoadedEncoder:
    encoder = with_statistics(build_encoder("resnet18", seed=0))
    return dataclasses.replace(start, encoder=encoder, name="resnet18")


@pytest.fixture(scope="module")
def task(tiny_dataset: Path) -> TrainingTask:
    index = ShardIndex.open(tiny_dataset)
    train, test = index.where(split="train"), index.where(split="test")
    labels = np.stack([index.labels(label) for label in LABELS], axis=1)
    labels[train.rows[3], 1] = np.nan
    return TrainingTask(
        index=index,
        labels=LABELS,
        fraction=1.0,
        train_rows=train.rows[:40],
        train_labels=labels[train.rows[:40]],
        valid_rows=train.rows[40:],
        valid_labels=labels[train.rows[40:]],
        test_rows=test.rows,
    )


def same(one: Trained, other: Trained) -> bool:
    return np.array_equal(one.test_scores, other.test_scores) and np.array_equal(one.valid_scores, other.valid_scores)


@pytest.mark.slow
def test_fine_tuning_learns_all_labels(start: LoadedEncoder, task: TrainingTask, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in start.encoder.state_dict().items()}
    config = dataclasses.replace(SHORT, max_steps=90, min_steps=90, validations=6, class_weights="balanced")
    config = dataclasses.replace(config, lr=0.02, encoder_factor=0.5)
    result = run_finetune(start, task, config, tmp_path / "cell")
    blob = task.index.labels("blob")[task.test_rows]
    assert auroc(blob, result.test_scores[:, 0]) > 0.9
    assert auroc(1 - blob, result.test_scores[:, 1]) > 0.9
    assert result.valid_scores.shape == (24, 2)
    assert result.test_scores.dtype == np.float32
    assert result.details["norm"] == "frozen"
    assert [each["step"] for each in result.details["validations"]] == [15, 30, 45, 60, 75, 90]
    after = start.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the start is left as it was"
    assert not (tmp_path / "cell").exists()


def test_the_model_can_be_kept(resnet: LoadedEncoder, task: TrainingTask, tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, max_steps=1, validations=1, keep_model=True)
    before = Seen(images=np.array([7], dtype=np.uint64), splits={"former": ["train"]})
    result = run_finetune(dataclasses.replace(resnet, seen=before), task, config, tmp_path)
    kept = load_image_classifier(tmp_path)
    learnt = seen_in(task.select(task.train_rows))
    seen = load_seen(tmp_path / "encoder.safetensors", load_encoder(tmp_path).metadata)
    assert seen.images.tolist() == sorted([7, *learnt.images.tolist()]), "the start's, and what it was trained on"
    assert seen.splits == {"former": ["train"], **learnt.splits}
    model = kept.network
    assert (kept.labels, kept.readout, kept.views) == (LABELS, "finetune", resnet.views.evaluation())
    assert (kept.image.size, kept.image.format, kept.trained["validation_images"]) == (64, "jpeg", 24)
    assert kept.calibration.temperatures == calibrate(result.valid_scores, task.valid_labels).temperatures
    np.testing.assert_allclose(kept.calibration.logits, result.valid_scores, atol=1e-5)
    before = resnet.encoder.state_dict()
    assert torch.equal(model.get_submodule("encoder.bn1").running_mean, before["bn1.running_mean"])
    assert not torch.equal(model.get_parameter("encoder.conv1.weight"), before["conv1.weight"])
    scorer = ImageScorer(
        task.select(task.test_rows),
        kept.views,
        engine="auto",
        repeats=False,
        precision="fp32",
        world=ALONE,
        section="finetune",
    )
    assert np.allclose(scorer(model, 2), result.test_scores, atol=1e-5)
    scorer.close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "encoder.safetensors",
        "head.safetensors",
        "seen.safetensors",
    }


@pytest.mark.parametrize("settings", [{}, {"norm": "trained", "average": 2}])
def test_an_interrupted_cell_ends_as_if_it_had_not_been(
    start: LoadedEncoder, task: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict
) -> None:
    config = dataclasses.replace(SHORT, **settings)
    whole = run_finetune(start, task, config, tmp_path / "whole")
    again = run_finetune(start, task, config, tmp_path / "again")
    assert same(whole, again)

    real, calls = eval.training.loop.masked_loss, []

    def signalled(*arguments, **keywords):  # type: ignore[no-untyped-def]
        calls.append(0)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            while not stops[-1]._asked:  # a thread takes note of it
                pass
        return real(*arguments, **keywords)

    stops: list = []
    made = eval.training.loop.Stop
    monkeypatch.setattr(eval.training.loop, "Stop", lambda world: stops.append(made(world)) or stops[-1])
    monkeypatch.setattr(eval.training.loop, "masked_loss", signalled)
    with pytest.raises(KeyboardInterrupt):
        run_finetune(start, task, config, tmp_path / "stopped")
    (checkpoint,) = (tmp_path / "stopped" / "checkpoints").iterdir()
    assert checkpoint.name == "step-00000003"
    resumed = run_finetune(start, task, config, tmp_path / "stopped")
    assert len(calls) == 6, "three steps were left"
    assert same(whole, resumed)
    assert not (tmp_path / "stopped").exists()


def test_a_checkpoint_of_other_settings_is_not_continued(
    start: LoadedEncoder, task: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(SHORT, seed=1)
    whole = run_finetune(start, task, other, tmp_path / "whole")
    monkeypatch.setattr(eval.training.loop.Snapshots, "clear", lambda self: None)
    run_finetune(start, task, SHORT, tmp_path / "cell")
    assert list((tmp_path / "cell" / "checkpoints").iterdir())
    result = run_finetune(start, task, other, tmp_path / "cell")
    assert same(whole, result)
    assert not same(run_finetune(start, task, SHORT, tmp_path / "cell"), result)


def test_it_stops_early_and_keeps_the_best(
    start: LoadedEncoder, task: TrainingTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = eval.training.loop.validate
    aurocs = {1: 0.6, 2: 0.9, 3: 0.7, 4: 0.8, 5: 0.8}
    monkeypatch.setattr(
        eval.training.loop,
        "validate",
        lambda step, *given: dataclasses.replace(real(step, *given), aurocs=[aurocs[step]] * 2),
    )
    config = dataclasses.replace(SHORT, validations=6, patience=2)
    result = run_finetune(start, task, config, tmp_path / "patient")
    assert (result.details["steps"], result.details["planned_steps"], result.details["best_step"]) == (4, 6, 2)
    longer = run_finetune(start, task, dataclasses.replace(config, patience=3), tmp_path / "other")
    assert same(result, longer), "the weights of step 2 both times"


def test_without_validation_images_the_last_weights_count(
    start: LoadedEncoder, task: TrainingTask, tmp_path: Path
) -> None:
    bare = dataclasses.replace(task, valid_rows=task.valid_rows[:0], valid_labels=task.valid_labels[:0])
    result = run_finetune(start, bare, dataclasses.replace(SHORT, patience=1), tmp_path)
    assert result.valid_scores.shape == (0, 2)
    assert result.details["steps"] == result.details["best_step"] == 6


def test_a_draw_smaller_than_a_batch(start: LoadedEncoder, task: TrainingTask, tmp_path: Path) -> None:
    few = [int(np.flatnonzero(task.train_labels[:, 0] == value)[0]) for value in (0, 1)]
    small = dataclasses.replace(task, train_rows=task.train_rows[few], train_labels=task.train_labels[few])
    result = run_finetune(start, small, SHORT, tmp_path)
    assert result.details["batch_size"] == 2
    assert result.details["epochs"] == 6


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"lr": 0.0}, r"finetune\.lr 0"),
        ({}, {"lr": 1e30}, r"finetune\.lr: the (loss is|scores are) not finite"),
        ({"train_labels": None}, {}, r"--label 'clear'.*0 positive"),
    ],
)
def test_what_cannot_be_learnt_is_one_clear_line(
    start: LoadedEncoder, task: TrainingTask, tmp_path: Path, change: dict, settings: dict, message: str
) -> None:
    if change:
        labels = task.train_labels.copy()
        labels[:, 1] = 0
        task = dataclasses.replace(task, train_labels=labels)
    with pytest.raises(InputError, match=message):
        run_finetune(start, task, dataclasses.replace(SHORT, **settings), tmp_path)


def test_an_absent_device_is_refused(start: LoadedEncoder, task: TrainingTask, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--device cuda: no CUDA device"):
        run_finetune(start, task, SHORT, tmp_path, device="cuda")


def test_plain_steps_are_those_of_a_plain_loop(start: LoadedEncoder) -> None:
    def train(clipping: float, by_hand: bool) -> torch.Tensor:
        model = ImageClassifier(tiny_encoder(), 1, seed=0).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        engine = TorchEngine(model, optimizer, precision="fp32", clipping=clipping, world=ALONE)
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            images, labels = torch.randn(4, 1, 32, 32, generator=generator), torch.tensor([[0.0], [1.0], [1.0], [0.0]])
            if not by_hand:
                engine.backward(F.binary_cross_entropy_with_logits(engine(images), labels))
                engine.step()
                continue
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(images), labels).backward()
            if clipping:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clipping)
            optimizer.step()
        return model.head.weight.detach()

    for clipping in (0.0, 0.01):
        assert torch.equal(train(clipping, True), train(clipping, False))
    assert not torch.equal(train(0.0, False), train(0.01, False))


@pytest.mark.slow
@pytest.mark.parametrize(("is_random", "norm"), [(False, "auto"), (False, "trained"), (True, "auto")])
def test_two_processes_give_what_one_gives(
    resnet: LoadedEncoder, task: TrainingTask, tmp_path: Path, is_random: bool, norm: Any
) -> None:
    """Labels are missing unevenly, so the ranks' shares of the loss differ; norm is trained at a random start."""
    start = dataclasses.replace(resnet, encoder=build_encoder("resnet18", seed=0)) if is_random else resnet
    config = dataclasses.replace(SHORT, norm=norm)
    labels = task.train_labels.copy()
    labels[::3, 0] = np.nan
    task = dataclasses.replace(task, train_labels=labels)
    alone = run_finetune(start, task, config, tmp_path / "alone", device="cpu")
    two = dataclasses.replace(config, num_processes=2)
    together = run_finetune(start, task, two, tmp_path / "together", device="cpu")
    assert np.allclose(alone.test_scores, together.test_scores, atol=2e-3)
    assert np.allclose(alone.valid_scores, together.valid_scores, atol=2e-3)
    assert together.details["best_step"] == alone.details["best_step"]
    assert together.details["norm"] == ("frozen" if not is_random and norm == "auto" else "trained")
    assert not (tmp_path / "together").exists()
