"""What all tests share: small datasets made on the spot, the real images where they are, and what processes that tests
start find and see.

Those find the project, and what this process was told to find. A GPU is for the tests marked ``gpu``, which run by
themselves (``pytest -m gpu``): any other run, and all that it starts, is as on a machine without one. So results are
those of the CPU, ranks meet by gloo, and DeepSpeed, which keeps the kind of device that it sees first, sees one kind.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.packing.build import BuildConfig, build_dataset

ROOT = Path(__file__).parent.parent
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_configure(config: pytest.Config) -> None:
    """Before anything looks for a GPU, or is interrupted: a shell has what it starts in the background ignore that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _is_for_gpu(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = ""
    if not _is_for_gpu(config):
        reason = "in a run of their own: make test-gpu"
    elif marked:
        import torch

        reason = "" if torch.cuda.is_available() else "no CUDA device"
    for item in marked if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


def _is_for_gpu(config: pytest.Config) -> bool:
    return config.option.markexpr == "gpu"


def draw_pattern(seed: int, *, has_blob: bool, width: int = 72, height: int = 64) -> np.ndarray:
    """A gray image (height, width) of soft stripes; with a bright disc in a corner if ``has_blob``."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    angle, phase = random.uniform(0, np.pi), random.uniform(0, 6)
    pixels = 90 + 50 * np.sin((x * np.cos(angle) + y * np.sin(angle)) / 5 + phase) + random.normal(0, 6, x.shape)
    if has_blob:
        pixels += 110 * (np.hypot(x - 0.25 * width, y - 0.75 * height) < random.uniform(6, 10))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_patterns(root: Path, counts: dict[str, int]) -> Path:
    """A SPLIT/CLASS/image.png tree of patterns with classes ``blob`` and ``clear``; counts are images a class."""
    for number, (split, count) in enumerate(counts.items()):
        for name in ("blob", "clear"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 10_000 * number + 2 * i + (name == "blob")
                Image.fromarray(draw_pattern(seed, has_blob=name == "blob")).save(folder / f"{name}{i:03d}.png")
    return root


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed dataset of 96 images 64 px high, labels ``blob`` and ``clear``, splits ``train`` (64), ``test`` (32)."""
    folder = tmp_path_factory.mktemp("tiny")
    source = write_patterns(folder / "source", {"train": 32, "test": 16})
    output = folder / "tiny"
    build_dataset(BuildConfig(source="folder", input=source, output=output, size=64, shard_images=40, workers=1))
    return output


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real chest X-rays: ``CXR_REAL_DATA``, or ``../shared/data`` beside the project."""
    folder = Path(os.environ.get("CXR_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "kermany").is_dir():
        pytest.skip(f"no real chest X-rays in {folder}; set CXR_REAL_DATA to their folder")
    return folder
