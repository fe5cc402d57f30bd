import pytest

from benchmarks import loader
from benchmarks.loader import LoaderConfig
from shards.errors import InputError


def test_engines_are_compared_on_the_same_images(tiny_dataset):
    (comparison,) = loader.run(LoaderConfig(data=tiny_dataset, size=32, batch=16, turns=1))
    assert list(comparison.timings) == ["torchvision PIL workers", "dali", "kornia"]
    assert comparison.rate == 96
    assert comparison.work.startswith("96 images of 72x64 px")


def test_an_unknown_preset_is_named(tiny_dataset):
    with pytest.raises(InputError, match="--views moco: unknown; known presets: moco_cxr"):
        loader.run(LoaderConfig(data=tiny_dataset, views="moco"))
