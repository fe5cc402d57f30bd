"""Files that are no start for a ResNet18, and what is said of each. Not a test by itself."""

import gzip
import io
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from tests.train.encoders.published import prefixed, thin
from tests.train.encoders.wrapped import encoder, head, in_type, zeros

Content = dict[str, Any] | list[Any] | bytes
State = dict[str, Tensor]


def network(name: str) -> State:
    """A network of torchvision, thin."""
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name, weights=None).state_dict()
    return {key: thin(torch.zeros(value.shape, dtype=value.dtype)) for key, value in shapes.items()}


def changed(pattern: str, by: str) -> State:
    return {re.sub(pattern, by, key): value for key, value in thin(encoder("resnet18")).items()}


def with_tensor(name: str, value: Tensor) -> State:
    return thin(encoder("resnet18")) | {name: value}


def without(pattern: str) -> State:
    return {key: value for key, value in thin(encoder("resnet18")).items() if not re.search(pattern, key)}


def several(*prefixes: str) -> State:
    """Encoders of other weights under each prefix."""
    state: State = {}
    for number, prefix in enumerate(prefixes):
        moved = {key: value + number for key, value in thin(encoder("resnet18")).items()}
        state |= prefixed(prefix, moved)
    return state


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(member: str) -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(member, "x")

    return saved(write)


def tarred(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))


def deep() -> Any:
    value: Any = {"a": torch.zeros(1)}
    for _ in range(150):
        value = {"x": value}
    return value


REFUSED: dict[str, tuple[Callable[[], Content], str]] = {
    # several encoders
    "two encoders": (lambda: several("frontal.", "lateral."), r"not the only resnet18 in the file: lateral"),
    "an ensemble": (lambda: several("models.0.", "models.1.", "models.2."), r"models.1.\*, models.2.\* fit"),
    "two state dicts": (lambda: {"state_dict": several(""), "model": zeros(encoder("resnet18"))}, r"model\.\* fit"),
    "last and best": (lambda: {"model": several(""), "best_model": zeros(encoder("resnet18"))}, r"best_model\.\* fit"),
    # other networks
    "densenet121": (lambda: network("densenet121"), "weights of a densenet121: give encoder.name densenet121"),
    "resnet34": (lambda: network("resnet34"), r"layer1\.2\..* not expected"),
    "resnet50": (lambda: network("resnet50"), "weights of a resnet50: give encoder.name resnet50"),
    "resnext50": (lambda: network("resnext50_32x4d"), "not expected"),
    "CIFAR": (lambda: with_tensor("conv1.weight", torch.zeros(64, 3, 3, 3)), r"\(64, 1, 3, 3\)"),
    "SupContrast": (lambda: {"model": prefixed("encoder.", changed("downsample", "shortcut"))}, "shortcut.*expected"),
    "deep stem (ResNet-D)": (lambda: changed(r"^conv1\.", "conv1.0."), r"\(conv1.weight\) missing"),
    "squeeze and excitation": (lambda: with_tensor("layer1.0.se.fc1.weight", torch.zeros(4)), "not expected"),
    "four channels": (lambda: with_tensor("conv1.weight", torch.zeros(64, 4, 7, 7)), r"\(64, 4, 7, 7\)"),
    "MONAI, bias": (lambda: with_tensor("layer2.0.downsample.0.bias", torch.zeros(128)), "not expected"),
    "CLIP's ResNet": (lambda: prefixed("visual.", changed(r"^bn1", "ln_pre")), "bn1.weight.* missing"),
    "Detectron2's names": (lambda: {"model": changed(r"^layer(\d)", r"res\1")}, "missing"),
    "heads alone": (lambda: {"state_dict": head("fc.")}, "missing"),
    # parts of one
    "parameters without statistics": (lambda: without("running_|num_batches"), r"save state_dict\(\), which has them"),
    "our state.pt alone": (
        lambda: {"method": prefixed("model.encoder.", without("running_|num_batches"))},
        "rank-00000.pt: give the checkpoint's folder",
    ),
    "a layer less": (lambda: without(r"layer4\.1\.conv2"), r"1 \(layer4.1.conv2.weight\) missing"),
    "ZeRO 3": (
        lambda: {"module": {key: torch.zeros(0) for key in encoder("resnet18")}}, "give what zero_to_fp32.py beside"),
    "FSDP, flattened": (
        lambda: {"model": {"_fsdp_wrapped_module._flat_param": torch.zeros(9)}}, "StateDictType.FULL_STATE_DICT"),
    # other numbers
    "not finite": (lambda: with_tensor("bn1.weight", torch.full((64,), torch.nan)), "not finite"),
    "whole numbers": (lambda: in_type(torch.int8)("resnet18"), "numbers of type torch.int8, as quantisation"),
    "quantised": (
        lambda: with_tensor("conv1.weight", torch.quantize_per_tensor(torch.zeros(64, 3, 7, 7), 0.1, 0, torch.qint8)),
        "conv1.weight is quantised",
    ),
    "sparse": (lambda: with_tensor("conv1.weight", torch.zeros(64, 3, 7, 7).to_sparse()), "quantised, sparse or"),
    # no weights of PyTorch
    "no tensors": (lambda: {"epoch": 3, "model": "resnet18"}, r"holds no tensors, but \['epoch', 'model'\]"),
    "a function": (lambda: pickle.dumps(print, protocol=2), "could run code, and is not opened"),
    "nested without end": (deep, "nests more than 100 deep"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes"),
    "NumPy, several": (lambda: saved(lambda file: np.savez(file, a=np.zeros(3))), "NumPy arrays, as JAX writes"),
    "NumPy, one": (lambda: saved(lambda file: np.save(file, np.zeros(3))), "one NumPy array"),
    "Detectron2's pickle": (
        lambda: pickle.dumps({"model": {"stem.conv1.weight": np.zeros(3)}}, protocol=2), "NumPy arrays, as Detectron2"),
    "ONNX": (lambda: b"\x08\x07\x12\x07pytorch" + bytes(99), "is an ONNX graph; give the weights that it was made"),
    "torch.export": (lambda: zipped("archive/archive_format"), r"torch.export.load\(FILE\).state_dict, NEW\)"),
    "Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS.*git lfs pull"),
    "a web page": (lambda: b"<!DOCTYPE html><title>Quota exceeded</title>", "is a web page and no weights"),
    "compressed": (lambda: gzip.compress(b"x" * 99), "is a compressed file; unpack it"),
    "a tar that is one": (lambda: saved(tarred), "is a tar archive; unpack it"),
    "a zip of something": (lambda: zipped("weights.pth"), "is a zip archive, and none that PyTorch writes"),
    "safetensors by another name": (
        lambda: safetensors.torch.save({"a": torch.zeros(1)}), r"give it a name that ends in \.safetensors"),
    "cut off": (lambda: saved(lambda file: torch.save(nn.Linear(9, 9).state_dict(), file))[:-300], "cannot be read"),
}  # fmt: skip
"""What is made, and a pattern of what is said."""
