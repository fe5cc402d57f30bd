"""Whole multimodal trainings: what each input tells, what interruptions and more processes change."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import eval.training.loop
from eval.stats.metrics import auroc
from eval.training.task import Trained, TrainingTask
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.eval.multimodal.conftest import SHORT, Run, copied, make_task, write_texts
from tests.shards.sealed import seal
from train.encoders.saved import LoadedEncoder

LEARNS = dataclasses.replace(SHORT, min_steps=100, max_steps=100, validations=4)


def same(one: Trained, other: Trained) -> bool:
    return np.array_equal(one.test_scores, other.test_scores) and np.array_equal(one.valid_scores, other.valid_scores)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_image_encoder_can_be_trained(run: Run, truth: np.ndarray, start: LoadedEncoder, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in start.encoder.state_dict().items()}
    config = dataclasses.replace(
        LEARNS, image_encoder="trained", encoder_factor=1.0, augmentation="evaluation", modality_dropout=0.2
    )
    result = run(config)
    assert auroc(truth, result.test_scores[:, 0]) > 0.95
    after = start.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the start is left as it was"


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
    seal(bare)
    without = dataclasses.replace(task, index=ShardIndex.open(bare))
    assert run(inputs="image", task=without).details["vocabulary"] == 5
    with pytest.raises(InputError, match="no column 'indication'"):
        run(task=without)
    write_texts(bare, [None] * len(table))
    with pytest.raises(InputError, match="none of the 160 training images has an indication"):
        run(task=dataclasses.replace(task, index=ShardIndex.open(bare)))


@pytest.mark.slow
@pytest.mark.parametrize(("image_encoder", "norm"), [("frozen", "auto"), ("trained", "frozen"), ("trained", "trained")])
def test_two_processes_give_what_one_gives(
    run: Run, resnet: LoadedEncoder, tmp_path: Path, image_encoder: Any, norm: Any
) -> None:
    config = dataclasses.replace(
        SHORT, image_encoder=image_encoder, image_tokens=1, dropout=0.0, modality_dropout=0.4, lr=1e-3, norm=norm
    )
    alone = run(config, start=resnet, name="alone")
    together = run(dataclasses.replace(config, num_processes=2), start=resnet, name="together")
    assert np.allclose(alone.test_scores, together.test_scores, atol=2e-3)
    assert np.allclose(alone.valid_scores, together.valid_scores, atol=2e-3)
    assert together.details["inputs"] == "both"
    assert not (tmp_path / "together").exists()
