import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from pipeline.loader import build_loader
from shards.base.errors import InputError
from shards.index import ShardIndex
from tests.shards.sealed import seal
from train.encoders.build import build_encoder
from train.encoders.neighbours import knn_scores
from train.ranks.world import World
from train.run.knn import Neighbours, build_neighbours, split_patients
from train.settings.checks import check_config
from train.settings.command import parse_command
from train.settings.config import PretrainConfig
from train.settings.recipes import recipe

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))


def make(split: str = "train", **run: Any) -> PretrainConfig:
    config = replace(recipe("debug"), output=Path("run"))
    run = {"knn_label": ("blob",), "precision": "fp32"} | run
    return replace(config, selection=replace(config.selection, split=split), run=replace(config.run, **run))


@pytest.fixture(scope="module")
def index(tiny_dataset: Path) -> ShardIndex:
    return ShardIndex.open(tiny_dataset).where(split="train")


def build(index: ShardIndex, **run: Any) -> Neighbours:
    neighbours = build_neighbours(make(**run), index, WORLD)
    assert neighbours is not None
    return neighbours


def test_patients_are_on_one_side_and_whole() -> None:
    patients = np.random.default_rng(0).integers(0, 40, 200)
    for limit in (1000, 30):
        bank, scored = split_patients(patients, limit=limit, seed=3)
        assert not set(patients[bank]) & set(patients[scored])
        for side in (bank, scored):
            assert 0 < len(side) <= limit
            assert all((patients[side] == name).sum() == (patients == name).sum() for name in set(patients[side]))
    assert len(bank) > 20
    again, other = split_patients(patients, limit=30, seed=3), split_patients(patients, limit=30, seed=4)
    assert np.array_equal(again[0], bank)
    assert not np.array_equal(other[0], bank)


def test_a_patient_larger_than_the_limit_is_taken_alone() -> None:
    bank, scored = split_patients(np.repeat([0, 1], 50), limit=5, seed=0)
    assert (len(bank), len(scored)) == (50, 50)


def test_unknown_labels_are_in_neither_part(tiny_dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(tiny_dataset, folder)
    table = pq.read_table(folder / "index.parquet")
    values = [value if number % 2 else None for number, value in enumerate(table["blob"].to_pylist())]
    place = table.column_names.index("blob")
    pq.write_table(table.set_column(place, "blob", pa.array(values, pa.int8())), folder / "index.parquet")
    neighbours = build(ShardIndex.open(seal(folder)).where(split="train"))
    assert len(neighbours.index) == 32
    assert not set(neighbours.index.rows % 2) - {1}


def test_auroc_is_that_of_plain_steps(index: ShardIndex) -> None:
    neighbours = build(index)
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", seed=1).eval()
    measured = neighbours(encoder)
    assert measured.keys() == {"knn_auroc/blob"}
    features = torch.empty(len(neighbours.index), 512)
    views = make().views.evaluation()
    settings: dict[str, Any] = {"num_views": 1, "shuffle": "none", "last": "short", "engine": "kornia"}
    with torch.no_grad(), build_loader(neighbours.index, views, batch_size=7, **settings) as loader:
        for batch in loader:
            features[neighbours.index.positions(batch.rows.numpy())] = encoder(batch.views[0])
    labels, bank = neighbours.index.labels("blob"), neighbours.num_bank
    truth = torch.from_numpy(labels[:bank])
    scores = knn_scores(features[bank:], features[:bank], truth, num_neighbours=20, temperature=0.07)
    assert measured["knn_auroc/blob"] == pytest.approx(roc_auc_score(labels[bank:], scores), abs=1e-9)
    assert neighbours(encoder) == measured


def test_features_that_show_the_label_score_one(index: ShardIndex) -> None:
    class Brightest(nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            corner = views[:, 0, 20:28, 4:12].mean(dim=(1, 2))  # the disc of a blob is there
            return torch.stack([corner, torch.ones_like(corner)], dim=1)

    assert build(index, knn_neighbours=3)(Brightest())["knn_auroc/blob"] > 0.95


def test_the_encoder_is_left_as_it_was(index: ShardIndex) -> None:
    encoder = build_encoder("resnet18", seed=1).train()
    encoder.get_submodule("layer1").eval()
    modes = [module.training for module in encoder.modules()]
    state = copy.deepcopy(encoder.state_dict())
    random = torch.get_rng_state()
    build(index)(encoder)
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_the_encoder_is_back_in_training_after_an_error(index: ShardIndex) -> None:
    class Broken(nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            assert not self.training
            raise RuntimeError("broken")

    encoder = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        build(index)(encoder)
    assert encoder.training


def test_features_that_are_not_finite_have_no_auroc(index: ShardIndex) -> None:
    class Diverged(nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            return views.flatten(1)[:, :4] * float("nan")

    assert np.isnan(build(index)(Diverged())["knn_auroc/blob"])


def test_only_images_that_are_trained_on_are_looked_at(tiny_dataset: Path, index: ShardIndex) -> None:
    assert set(build(index).index.column("split")) == {"train"}
    everything = ShardIndex.open(tiny_dataset)
    neighbours = build_neighbours(make(split="all"), everything, WORLD)
    assert neighbours is not None
    assert set(neighbours.index.column("split")) == {"train"}
    test = everything.where(split="test")
    with pytest.raises(InputError, match="run.knn_label with selection.split all: split train: selects no image"):
        build_neighbours(make(split="all"), test, WORLD)


def test_uncertain_and_unlabelled_images_are_ignored(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ShardIndex.labels
    unknown = set(index.rows[::5].tolist())

    def labels(self: ShardIndex, name: str) -> Any:
        values = plain(self, name)
        values[[row in unknown for row in self.rows.tolist()]] = np.nan
        return values

    monkeypatch.setattr(ShardIndex, "labels", labels)
    neighbours = build(index)
    assert len(neighbours.index) == 64 - len(unknown)
    assert not unknown & set(neighbours.index.rows.tolist())


def test_off_unless_asked_for(index: ShardIndex) -> None:
    assert build_neighbours(make(knn_label=()), index, WORLD) is None
    assert build_neighbours(make(knn_every=0), index, WORLD) is None


@pytest.mark.parametrize("wrong", [{"knn_every": -1}, {"knn_images": 1}, {"knn_neighbours": 0}])
def test_refuses_settings_out_of_range(wrong: dict[str, int]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(InputError, match=f"run.{name} {value}: out of range"):
        check_config(replace(make(**wrong), data=("tiny",)), world_size=1)


def test_labels_of_several_words_are_settings() -> None:
    command = ["debug", "--data", "tiny", "--output", "run", "--run.knn-label", "Pleural Effusion", "Edema"]
    assert parse_command([*command, "--run.knn-every", "5"]).config.run.knn_label == ("Pleural Effusion", "Edema")


def test_refuses_labels_that_cannot_be_scored(index: ShardIndex) -> None:
    with pytest.raises(InputError, match="run.knn_label 'Edema': not a label of the data; its labels are: blob, clear"):
        build(index, knn_label=("blob", "Edema"))
    blobs = index.take(index.labels("blob") == 1)
    with pytest.raises(InputError, match="run.knn_label 'blob': of 16 \\+ 16 images .* no negative"):
        build(blobs)
