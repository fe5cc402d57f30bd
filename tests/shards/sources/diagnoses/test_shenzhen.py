from collections import Counter

import pytest

from shards.sources.diagnoses.shenzhen import parse_first_line
from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release


@pytest.mark.parametrize(
    ("line", "sex", "age"),
    [
        ("male 45yrs\t\t", "M", 45),
        ("female, 33 yrs", "F", 33),
        ("Male,21years", "M", 21),
        ("female 9months", "F", 0.75),
        ("male, 73 days", "M", 0.2),
        ("femal 33yrs", None, 33),
        ("", None, None),
    ],
)
def test_first_lines(line, sex, age):
    found = parse_first_line(line)
    assert found == (sex, pytest.approx(age))


@pytest.fixture
def release(tmp_path):
    for folder in ("CXR_png", "ClinicalReadings"):
        (tmp_path / "Shenzhen" / folder).mkdir(parents=True)
    for number in range(1, 201):
        stem = f"CHNCXR_{number:04d}_{int(number > 100)}"
        (tmp_path / "Shenzhen" / "CXR_png" / f"{stem}.png").touch()
        text = "male 45yrs\n" + ("normal\t\n" if number <= 100 else "1.left upper TB;\n2.old scars.\t\n")
        (tmp_path / "Shenzhen" / "ClinicalReadings" / f"{stem}.txt").write_text(text)
    (tmp_path / "Shenzhen" / "CXR_png" / "Thumbs.png").touch()
    return tmp_path / "Shenzhen"


def test_label_from_the_name_and_text_from_the_reading(release):
    found = read_release("shenzhen", open_files(release), SourceOptions())
    by_key = {record.key: record for record in found.records}
    assert by_key["CHNCXR_0001_0"].labels == {"Tuberculosis": 0}
    diseased = by_key["CHNCXR_0200_1"]
    assert diseased.labels == {"Tuberculosis": 1}
    assert (diseased.sex, diseased.age, diseased.findings) == ("M", 45, "1.left upper TB; 2.old scars.")
    assert [row.reason for row in found.rejected] == ["bad-name"]


def test_split_is_65_15_20_by_class_and_fixed(release):
    splits = [
        Counter(
            (record.split, record.labels["Tuberculosis"])
            for record in read_release("shenzhen", open_files(root), SourceOptions()).records
        )
        for root in (release, release.parent)
    ]
    assert splits[0] == splits[1]
    assert splits[0] == {(s, c): n for c in (0, 1) for s, n in (("train", 65), ("valid", 15), ("test", 20))}
