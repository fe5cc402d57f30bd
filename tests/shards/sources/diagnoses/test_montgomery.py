from collections import Counter

import pytest

from shards.base.errors import InputError
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release

NORMAL = "Patient's Sex: F\r\nPatient's Age: 027Y\r\nnormal\r\n"
DISEASED = "Patient's Sex: M \nPatient's Age: 010M\n  Improved since previous; small\n   cavity is seen.\t\n\n"


@pytest.fixture
def release(tmp_path):
    """138 images as in the release, with the lungs' masks, which bear the images' names."""
    root = tmp_path / "MontgomerySet"
    for folder in ("CXR_png", "ClinicalReadings", "ManualMask/leftMask", "ManualMask/rightMask"):
        (root / folder).mkdir(parents=True)
    for number in range(1, 139):
        stem = f"MCUCXR_{number:04d}_{int(number > 80)}"
        for folder in ("CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"):
            (root / folder / f"{stem}.png").touch()
        (root / "ClinicalReadings" / f"{stem}.txt").write_text(NORMAL if number <= 80 else DISEASED)
    (root / "CXR_png" / "Thumbs.db").touch()
    return tmp_path


def test_label_from_the_name_and_the_rest_from_the_reading(release):
    found = read_release("montgomery", open_files(release), SourceOptions())
    assert len(found.records) == 138, "masks are no images"
    by_key = {record.key: record for record in found.records}
    normal, diseased = by_key["MCUCXR_0001_0"], by_key["MCUCXR_0138_1"]
    assert (normal.labels, normal.sex, normal.age, normal.findings) == ({"Tuberculosis": 0}, "F", 27, "normal")
    assert (diseased.labels, diseased.sex, diseased.age) == ({"Tuberculosis": 1}, "M", pytest.approx(10 / 12))
    assert diseased.findings == "Improved since previous; small cavity is seen."
    assert diseased.source_path == "CXR_png/MCUCXR_0138_1.png"
    assert diseased.name == "MontgomerySet/CXR_png/MCUCXR_0138_1.png"


def test_split_by_class(release):
    found = read_release("montgomery", open_files(release / "MontgomerySet"), SourceOptions())
    splits = Counter((record.split, record.labels["Tuberculosis"]) for record in found.records)
    assert splits == {
        ("train", 0): 52, ("valid", 0): 12, ("test", 0): 16, ("train", 1): 37, ("valid", 1): 9, ("test", 1): 12
    }  # fmt: skip


def test_missing_readings_and_strange_names(release):
    root = release / "MontgomerySet"
    (root / "ClinicalReadings" / "MCUCXR_0001_0.txt").unlink()
    (root / "CXR_png" / "CHNCXR_0001_0.png").touch()
    found = read_release("montgomery", open_files(root), SourceOptions())
    first = next(record for record in found.records if record.key == "MCUCXR_0001_0")
    assert (first.sex, first.age, first.findings) == (None, None, None)
    assert [row.reason for row in found.rejected] == ["bad-name"]
    with pytest.raises(InputError, match="is this the Montgomery set"):
        read_release("montgomery", open_files(root / "CXR_png"), SourceOptions())
