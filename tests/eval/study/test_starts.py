"""Starts are named encoders, and take architecture and views from the run they are compared with."""

from pathlib import Path

import pytest
import torch

from eval.study.features import encoder_hash
from eval.study.starts import build_starts, rebuild
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from train.encoders.build import build_encoder
from train.encoders.file import is_ours
from train.encoders.saved import save_encoder

VIEWS = ViewSpec(size=32, mean=0.4, std=0.2)


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "moco.pth"
    torch.save(build_encoder("resnet18", seed=3).state_dict(), path)
    return path


def test_starts_that_are_no_run_take_its_architecture_and_views(run_folder: Path, weights_file: Path) -> None:
    sources = {"random": ["random"], "paper": [str(weights_file)], "pretrained": [str(run_folder)]}
    starts = build_starts(sources, num_random=2, seed=5)
    assert list(starts) == ["random", "paper", "pretrained"]
    assert [encoder.id for encoder in starts["random"].encoders] == ["random-5", "random-6"]
    every = [encoder for start in starts.values() for encoder in start.encoders]
    assert len({encoder.hash for encoder in every}) == 4
    for encoder in every:
        assert (encoder.name, encoder.norm, encoder.num_features, encoder.views) == ("resnet18", "batch", 512, VIEWS)
        assert not encoder.encoder.training
        again = rebuild(encoder.name, weights=encoder.weights, norm=encoder.norm, seed=encoder.seed)
        assert encoder_hash(again) == encoder.hash
    assert starts["pretrained"].encoders[0].hash == encoder_hash(build_encoder("resnet18", seed=7))
    assert starts["paper"].encoders[0].hash == encoder_hash(build_encoder("resnet18", seed=3))
    assert "tensors loaded" in starts["paper"].encoders[0].origin


def test_runs_of_other_architectures_keep_theirs(run_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "dense" / "encoder.safetensors"
    other.parent.mkdir()
    save_encoder(other, build_encoder("densenet121"), name="densenet121", views=ViewSpec(size=64))
    starts = build_starts({"run": [str(run_folder)], "dense": [str(other)], "random": ["random"]}, num_random=1)
    assert list(starts) == ["run", "dense", "random"]
    found = {name: (start.encoders[0].name, start.encoders[0].views.size) for name, start in starts.items()}
    assert found == {"run": ("resnet18", 32), "dense": ("densenet121", 64), "random": ("resnet18", 32)}
    (dense,) = build_starts({"random": ["random"], "dense": [str(other)]}, num_random=1)["random"].encoders
    assert (dense.name, dense.num_features) == ("densenet121", 1024)


def test_without_a_run_architecture_and_views_are_to_be_given(weights_file: Path) -> None:
    with pytest.raises(InputError, match="of which architecture.*--architecture"):
        build_starts({"moco": [str(weights_file)]})
    with pytest.raises(InputError, match="--views"):
        build_starts({"moco": [str(weights_file)]}, architecture="resnet18")
    with pytest.raises(InputError, match="'resnet19'.*unknown"):
        build_starts({"moco": [str(weights_file)]}, architecture="resnet19", views=VIEWS)
    with pytest.raises(InputError, match="does not fit the encoder densenet121"):
        build_starts({"moco": [str(weights_file)]}, architecture="densenet121", views=VIEWS)
    (encoder,) = build_starts({"moco": [str(weights_file)]}, architecture="resnet18", views=VIEWS)["moco"].encoders
    assert encoder.views == VIEWS


def test_several_runs_make_one_start(run_folder: Path, tmp_path: Path, weights_file: Path) -> None:
    second = tmp_path / "second" / "encoder.safetensors"
    second.parent.mkdir()
    save_encoder(second, build_encoder("resnet18", seed=8), name="resnet18", views=VIEWS)
    start = build_starts({"mine": [str(run_folder), str(second)]})["mine"]
    assert [encoder.id for encoder in start.encoders] == ["mine-0", "mine-1"]
    assert [encoder.hash for encoder in start.encoders] == [
        encoder_hash(build_encoder("resnet18", seed=seed)) for seed in (7, 8)
    ]
    with pytest.raises(InputError, match="start mine: .*given twice"):
        build_starts({"mine": [str(run_folder), str(run_folder)]})
    with pytest.raises(InputError, match="start mine: random stands alone"):
        build_starts({"mine": [str(run_folder), "random"]})
    save_encoder(second, build_encoder("densenet121"), name="densenet121", views=VIEWS)
    with pytest.raises(InputError, match=r"start mine: .*is a densenet121 at 32 px, .* a resnet18 at 32 px"):
        build_starts({"mine": [str(run_folder), str(second)]})


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({}, "none given"),
        ({"a/b": ["random"]}, "'a/b'"),
        ({"a": ["nowhere.pth"]}, "nowhere.pth.*no such file"),
        ({"random": ["random"], "random-1": ["imagenet"]}, "'random-1': names the cells of two"),
    ],
)
def test_bad_starts_are_refused(weights_file: Path, sources: dict, message: str) -> None:
    sources = {name: [str(weights_file)] if source == ["imagenet"] else source for name, source in sources.items()}
    with pytest.raises(InputError, match=message):
        build_starts(sources, architecture="resnet18", views=VIEWS)


def test_a_dataset_is_no_start(packed: Path) -> None:
    with pytest.raises(InputError, match=f"encoder {packed}: is a packed dataset; give it to --data"):
        is_ours(packed)


def test_what_is_a_run(run_folder: Path, weights_file: Path, tmp_path: Path) -> None:
    assert is_ours(run_folder)
    assert is_ours(run_folder / "encoder.safetensors")
    assert not is_ours("random")
    assert not is_ours(weights_file)
    with pytest.raises(InputError, match="is no run folder, and has no config.json of a Hugging Face model; give"):
        is_ours(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(InputError, match="the run has not finished"):
        is_ours(tmp_path)
