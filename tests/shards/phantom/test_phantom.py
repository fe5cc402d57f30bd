"""The written folders: the same bytes for a seed whatever the workers, the releases' own layout, clear refusals."""

import csv
from pathlib import Path

import pytest

from shards.base.errors import InputError
from shards.phantom.config import PhantomConfig
from shards.phantom.write import write_phantom


def _small(output: Path, **changes: int) -> PhantomConfig:
    settings = {
        "chexpert_patients": 6,
        "chexpert_valid_patients": 4,
        "shenzhen_images": 6,
        "size": 64,
        "shenzhen_size": 72,
        "workers": 1,
    }
    return PhantomConfig(output=output, **(settings | changes))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(_small(folder))
    return folder


def test_bytes_depend_on_the_seed_only(written: Path, tmp_path: Path) -> None:
    write_phantom(_small(tmp_path / "again", workers=2))
    assert _contents(tmp_path / "again") == _contents(written)
    write_phantom(_small(tmp_path / "other", seed=1))
    other = _contents(tmp_path / "other")
    pictures = [name for name in _contents(written) if name.endswith((".jpg", ".png")) and name in other]
    assert pictures
    assert all(other[name] != _contents(written)[name] for name in pictures)


def test_a_patient_does_not_depend_on_how_many_there_are(written: Path, tmp_path: Path) -> None:
    write_phantom(_small(tmp_path, chexpert_patients=2, chexpert_valid_patients=0, shenzhen_images=0))
    fewer = {name: data for name, data in _contents(tmp_path).items() if name.endswith(".jpg")}
    more = _contents(written)
    assert fewer
    assert all(more[name] == data for name, data in fewer.items())


def test_totals_match_what_is_there(tmp_path: Path) -> None:
    totals = write_phantom(_small(tmp_path))
    chexpert, shenzhen = Path(totals["chexpert"]), Path(totals["shenzhen"])
    assert chexpert == tmp_path / "CheXpert-v1.0-small"
    for split in ("train", "valid"):
        with (chexpert / f"{split}.csv").open(newline="") as file:
            num_rows = len(list(csv.DictReader(file)))
        assert num_rows == len(list((chexpert / split).rglob("*.jpg"))) == totals[f"chexpert_{split}_images"]
    assert len(list((shenzhen / "CXR_png").glob("*.png"))) == totals["shenzhen_images"] == 6
    assert len(list(chexpert.glob("*/*/*"))) == totals["chexpert_studies"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CheXpert-v1.0-small", "Shenzhen"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": 8}, "size 8"),
        ({"chexpert_patients": -1}, "--chexpert-patients -1"),
        ({"mimic_patients": -1}, "--mimic-patients -1"),
        ({"mimic_size": 8}, "--mimic-size 8"),
        ({"workers": 0}, "workers 0"),
        ({"chexpert_patients": 0, "chexpert_valid_patients": 0, "shenzhen_images": 0}, "nothing to write"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path: Path, changes: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        write_phantom(_small(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_an_existing_release_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "Shenzhen").mkdir()
    with pytest.raises(InputError, match="already there"):
        write_phantom(_small(tmp_path))
    assert not (tmp_path / "CheXpert-v1.0-small").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_phantom(_small(tmp_path / "taken"))


def test_an_interrupted_run_is_begun_afresh(tmp_path: Path) -> None:
    partial = tmp_path / "Shenzhen.part" / "CXR_png"
    partial.mkdir(parents=True)
    (partial / "CHNCXR_9999_1.png").write_bytes(b"half a picture")
    write_phantom(_small(tmp_path, chexpert_patients=0, chexpert_valid_patients=0, shenzhen_images=3))
    assert len(list((tmp_path / "Shenzhen" / "CXR_png").iterdir())) == 3
    assert not partial.exists()
