"""An encoder is found under whatever prefix training code puts it, and nothing else is taken for it."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from shards.base.errors import InputError
from tests.train.encoders.published import moco_v3, prefixed, source, thin
from tests.train.encoders.refused import REFUSED
from tests.train.encoders.wrapped import LAYOUTS, encoder, head, under, zeros
from train.encoders.build import build_encoder
from train.encoders.weights import load_start, read_start

COLOUR = {"resnet18": "conv1.weight", "densenet121": "features.conv0.weight"}


def start(payload: Any, path: Path, name: str = "resnet18") -> nn.Module:
    torch.save(payload, path)
    return build_encoder(name, weights=str(path))


def some(names: Iterable[str], each: int) -> list[Any]:
    """All names, of which all but one in ``each`` wait for the slow tests."""
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if number % each == 0 else slow) for number, name in enumerate(names)]


@pytest.mark.parametrize("layout", some(LAYOUTS, each=6))
@pytest.mark.parametrize("name", ["resnet18", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_the_encoder_is_found(layout: str, name: str, tmp_path: Path) -> None:
    torch.save(thin(LAYOUTS[layout](name)), tmp_path / "start.pth")
    found, read = random_network(name), read_start(str(tmp_path / "start.pth"), name)
    assert read is not None
    load_start(found, read, name=name)
    expected = thin(source(name).state_dict())
    expected[COLOUR[name]] = expected[COLOUR[name]].sum(dim=1, keepdim=True)
    state = found.state_dict()
    assert state.keys() == expected.keys()
    close = {"half precision": 1e-3, "bfloat16": 1e-2}
    for key, value in state.items():
        torch.testing.assert_close(value, expected[key], msg=key, rtol=close.get(layout, 1e-6), atol=1e-6)


@functools.cache
def random_network(name: str) -> nn.Module:
    return build_encoder(name)


@pytest.mark.parametrize("file", some(REFUSED, each=3))
def test_what_is_no_start_is_refused_with_the_reason(file: str, tmp_path: Path) -> None:
    make, said = REFUSED[file]
    path, content, encoder = tmp_path / "start.pth", make(), random_network("resnet18")
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(InputError, match=said) as caught:
        load_start(encoder, read_start(str(path), "resnet18"), name="resnet18")  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"encoder.weights {path}: ")
    assert ";" in str(caught.value) or file == "cut off"
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_folders_of_other_software_name_the_file_to_give(tmp_path: Path) -> None:
    made = {
        "dcp": (".metadata", r"python -m torch.distributed.checkpoint.format_utils dcp_to_torch .*/dcp FILE.pth"),
        "zero": ("global_step9/mp_rank_00_model_states.pt", "of DeepSpeed; give the file of its weights, .*_states.pt"),
        "tf": ("saved_model.pb", "is a model of TensorFlow: not read here"),
        "other": ("last.ckpt", "is no run folder.*; give one of the files in it, such as .*/last.ckpt"),
    }
    for name, (file, said) in made.items():
        (tmp_path / name / file).parent.mkdir(parents=True)
        (tmp_path / name / file).touch()
        with pytest.raises(InputError, match=said):
            read_start(str(tmp_path / name), "resnet18")


def test_of_two_copies_the_one_that_is_handed_on_and_the_other_is_told(tmp_path: Path) -> None:
    found: Any = start(LAYOUTS["solo-learn"]("resnet18"), tmp_path / "start.ckpt")
    line = found.start.line()
    assert "state dict under backbone.; " in line
    assert re.search(r"left aside: \d+ \(momentum_backbone.conv1.weight, ", line)


def test_another_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="these are weights of a densenet121: give encoder.name densenet121"):
        start(under("backbone.")("densenet121"), tmp_path / "start.pth")
    with pytest.raises(InputError, match="give weights of a resnet18, or the encoder.name of the weights: one of"):
        start({"conv1.weight": torch.zeros(64, 3, 7, 7), "a.b": torch.zeros(1)}, tmp_path / "start.pth")


@pytest.mark.slow
def test_deeper_networks_and_other_blocks_are_not_taken_for_this_one(tmp_path: Path) -> None:
    state = encoder("resnet18")
    for extra in ("layer1.2.conv1.weight", "layer2.0.se.fc.weight", "bn1.momentum_mean"):
        with pytest.raises(InputError, match=f"{extra}.*not expected"):
            start(prefixed("backbone.", state | {extra: torch.zeros(1)}), tmp_path / "start.pth")
    tokens = moco_v3("vit_small_moco_v3")
    tokens["state_dict"]["module.base_encoder.dist_token"] = torch.zeros(1, 1, 384)
    with pytest.raises(InputError, match=r"dist_token\) not expected"):
        start(tokens, tmp_path / "start.pth", "vit_small_moco_v3")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = encoder("resnet18") | head("fc.")
    state["layer3.0.bn1.running_var"] = torch.full((256,), torch.nan)
    with pytest.raises(InputError, match=r"1 \(layer3.0.bn1.running_var\) hold values that are not finite"):
        start(state, tmp_path / "start.pth")
    state = encoder("resnet18") | {"fc.weight": torch.full((4, 512), torch.inf)}
    start(state, tmp_path / "start.pth")  # a head is not taken


def test_a_torchscript_program_is_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    torch.jit.trace(source("resnet18"), torch.zeros(1, 3, 64, 64)).save(tmp_path / "script.pt")
    with pytest.raises(InputError, match=r"TorchScript program; save its weights alone: torch.save\(torch.jit.load"):
        build_encoder("resnet18", weights=str(tmp_path / "script.pt"))
    torch.save(torch.jit.load(tmp_path / "script.pt").state_dict(), tmp_path / "new.pth")
    build_encoder("resnet18", weights=str(tmp_path / "new.pth"))


def test_half_precision_is_taken_and_a_copy_alone_too(tmp_path: Path) -> None:
    halves = {key: value.half() if value.is_floating_point() else value for key, value in encoder("resnet18").items()}
    assert start(halves, tmp_path / "half.pth").state_dict()["layer1.0.conv1.weight"].dtype == torch.float32
    found: Any = start(prefixed("momentum_encoder.", encoder("resnet18")), tmp_path / "copy.pth")
    assert found.start.format == "MoCo v3 checkpoint, momentum encoder"
    assert zeros(halves).keys() == halves.keys()
