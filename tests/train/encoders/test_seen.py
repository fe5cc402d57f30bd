"""What pretraining saw is kept with the encoder and found again among test images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.derived import merge_datasets, write_subset
from shards.index import ShardIndex
from shards.packing.build import build_dataset
from shards.packing.config import BuildConfig
from shards.sources.options import SourceOptions
from train.encoders.seen import (
    FILE,
    Seen,
    load_seen,
    num_seen,
    save_seen,
    seen_in,
    seen_rows,
    trained_on,
    united,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("exposure")
    packed = []
    for number, name in enumerate(("one", "two")):
        for split in ("train", "test"):
            folder = root / name / split / "sick"
            folder.mkdir(parents=True)
            for image in range(3):
                level = 40 * number + 9 * image + (split == "test")
                pixels = np.tile(np.arange(level, level + 32, dtype=np.uint8), (32, 1))
                Image.fromarray(pixels).save(folder / f"{split}{image}.png")
        packed.append(root / f"{name}-packed")
        build_dataset(BuildConfig(source="folder", input=root / name, output=packed[-1], size=32, workers=1))
    return packed


def test_test_images_of_a_split_that_was_pretrained_on_are_counted(folders: list[Path]) -> None:
    both = ShardIndex.open(*folders)
    seen = trained_on(both.where(split="train"))
    assert seen == {fingerprint: ["train"] for fingerprint in both.fingerprints}
    assert num_seen(seen, both.where(split="test")) == 0
    assert num_seen(seen, ShardIndex.open(folders[1], folders[0])) == 6  # in whatever order they are opened
    first = ShardIndex.open(folders[0])
    assert trained_on(first) == {first.fingerprints[0]: ["test", "train"]}
    assert num_seen(trained_on(first), both.where(split="test")) == 3
    assert num_seen({}, both) == 0


def packed(root: Path, output: Path, *, size: int, key: Path | None = None) -> ShardIndex:
    """A table of 12 images, two a patient; but the last one is of the patient of the first."""
    if not root.exists():
        root.mkdir()
        lines = ["file,patient"]
        for number in range(12):
            level = 9 * number
            pixels = np.tile(np.arange(level, level + 32, dtype=np.uint8), (32, 1))
            Image.fromarray(pixels).save(root / f"{number}.png")
            lines.append(f"{number}.png,{0 if number == 11 else number // 2}")
        (root / "list.csv").write_text("\n".join(lines))
    columns = {"path_column": "file", "patient_column": "patient"}
    options = SourceOptions(csv=Path("list.csv"), **columns)  # type: ignore[arg-type]
    more = {"pseudonymise": key, "source_options": options}
    build_dataset(BuildConfig(source="table", input=root, output=output, size=size, workers=1, **more))  # type: ignore[arg-type]
    return ShardIndex.open(output)


def counts(seen: Seen, test: ShardIndex) -> tuple[int, int]:
    images, patients = seen_rows(seen, test)
    return int(images.sum()), int(patients.sum())


@pytest.mark.parametrize("is_hidden", [False, True])
def test_images_and_patients_are_known_again_however_they_are_packed(tmp_path: Path, is_hidden: bool) -> None:
    key = tmp_path / "key" if is_hidden else None
    (tmp_path / "key").write_text("a key of more than sixteen bytes")
    first = packed(tmp_path / "in", tmp_path / "first", size=32, key=key)
    again = packed(tmp_path / "in", tmp_path / "again", size=16, key=key)
    part = first.take(np.arange(6))
    seen = seen_in(part)
    assert counts(seen, first) == (6, sum(np.isin(first.patients(), part.patients())))
    assert counts(seen, again) == counts(seen, first)
    subset = write_subset(again.take([0, 5, 7, 8]), tmp_path / "subset", selection={})
    of_part = set(seen.images.tolist())
    assert counts(seen, subset)[0] == sum(number in of_part for number in seen_in(subset).images.tolist())
    assert counts(seen_in(subset), again)[0] == 4
    merge_datasets([tmp_path / "subset", tmp_path / "first"], tmp_path / "merge")
    assert counts(seen_in(first), ShardIndex.open(tmp_path / "merge")) == (16, 16)
    assert counts(seen_in(again), ShardIndex.open(tmp_path / "merge")) == (16, 16)


def test_other_images_of_a_patient_who_was_seen_are_told(tmp_path: Path) -> None:
    index = packed(tmp_path / "in", tmp_path / "out", size=32)
    paths = index.column("source_path")
    seen = seen_in(index.take(paths == "0.png"))
    assert seen.images.size == seen.patients.size == 1
    images, patients = seen_rows(seen, index)
    assert set(paths[images]) == {"0.png"}
    assert set(paths[patients]) == {"0.png", "1.png", "11.png"}


def test_folders_of_like_names_are_not_confused(folders: list[Path]) -> None:
    first, second = (ShardIndex.open(folder) for folder in folders)
    assert counts(seen_in(first), first) == (6, 6)
    assert counts(seen_in(first), second) == (0, 0)
    assert counts(Seen(), first) == (0, 0)


def test_it_is_kept_beside_the_encoder_and_nowhere_else(folders: list[Path], tmp_path: Path, capsys) -> None:
    index = ShardIndex.open(folders[0])
    before = Seen(trained_on={"former": ["test"]}, splits={"former": ["test"]})
    metadata = save_seen(tmp_path, united(seen_in(index), before))
    assert (tmp_path / FILE).stat().st_size < 8 * 6 + 200, "eight bytes an image, which are all there is"
    seen = load_seen(tmp_path / "encoder.safetensors", metadata)
    assert counts(seen, index) == (6, 6)
    assert seen.trained_on == {"former": ["test"]}
    assert capsys.readouterr().err == ""
    elsewhere = load_seen(tmp_path / "moved" / "encoder.safetensors", metadata)
    assert "is missing: whether encoder.safetensors saw" in capsys.readouterr().err
    assert elsewhere.trained_on == {index.fingerprints[0]: ["test", "train"], "former": ["test"]}
    assert counts(elsewhere, index) == (6, 6), "by its splits"
    save_seen(tmp_path, seen_in(index.take([0])))
    assert counts(load_seen(tmp_path / "encoder.safetensors", metadata), index) == (6, 6)
    assert "is that of another encoder" in capsys.readouterr().err


def test_encoders_of_an_earlier_version_are_known_by_split(folders: list[Path], tmp_path: Path) -> None:
    index = ShardIndex.open(folders[0])
    former = load_seen(tmp_path / "encoder.safetensors", {"trained_on": trained_on(index.where(split="train"))})
    assert not former.has_numbers
    assert counts(former, index) == (3, 3)
    both = united(former, seen_in(ShardIndex.open(folders[1])))
    assert counts(both, ShardIndex.open(*folders)) == (9, 9)
    assert counts(load_seen(tmp_path / "encoder.safetensors", {}), index) == (0, 0)
