import re

import pytest
import torch

from pipeline.device import find_device
from shards.base.errors import InputError
from tests.conftest import ROOT


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.parametrize(
    ("name", "found"),
    [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu"), (torch.device("cuda"), "cuda:1")],
)
@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_comes_with_its_number(name, found):
    assert find_device(name) == torch.device(found)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "gpu", "cuda:x", ""])
@pytest.mark.usefixtures("two_gpus")
def test_what_is_no_device_here_is_one_line(name):
    with pytest.raises(InputError, match=f"^--device {name}: "):
        find_device(name, field="--device")


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="device cuda:0: no CUDA device here; use cpu"):
        find_device("cuda:0")


def test_no_other_module_makes_a_device_of_a_name():
    """A device of a given name may lack its number."""
    literal = r'torch\.device\((?!"cpu"\)|"meta"\)|"cuda", )'
    paths = [
        path for name in ("shards", "pipeline", "train", "eval", "benchmarks") for path in ROOT.glob(f"{name}/**/*.py")
    ]
    found = {str(path.relative_to(ROOT)) for path in paths if re.search(literal, path.read_text())}
    assert found == {"pipeline/device.py"}
