from importlib.metadata import version

import pytest

from benchmarks.gpu.offline.needs import UNUSED, needed, packages_there


@pytest.mark.parametrize(
    "listing",
    [
        "numpy==2.5.2\ntyping_extensions==4.15\nPyYAML==6.0\n",
        "Package            Version\n------------------ -------\nnumpy 2.5.2\ntyping_extensions  4.15\nPyYAML 6.0\n",
        "numpy, typing-extensions, pyyaml",
    ],
)
def test_lists_of_packages_are_read_however_pip_prints_them(listing):
    assert packages_there(listing) >= {"numpy", "typing-extensions", "pyyaml"}


def test_what_is_not_there_is_named_with_the_version_here():
    bare = needed((), python="3.12")
    assert bare["kornia"] == version("kornia")
    assert bare["nvidia-nvjpeg"] == version("nvidia-nvjpeg")  # of an extra that DALI asks for
    assert "moco-cxr" not in bare
    assert not bare.keys() & UNUSED


def test_nothing_is_followed_beyond_what_is_there():
    alone = needed(("torch", "torchvision", "numpy"), python="3.12")
    assert "torch" not in alone
    assert "nvidia-cublas" not in alone
    assert "kornia" in alone
    with_dali = needed(("nvidia-dali-cuda130",), python="3.12")
    assert not with_dali.keys() & {"nvidia-dali-cuda130", "astunparse", "nvidia-nvjpeg"}
