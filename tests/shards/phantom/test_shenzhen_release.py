"""The Shenzhen-like folder: file modes, names, and readings with the release's oddities."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.phantom.findings import Findings, tuberculosis_findings
from shards.phantom.shenzhen_release import Film, films, write_film, write_reading


def test_the_full_set_has_the_releases_proportions() -> None:
    drawn = films(662, seed=0)
    assert sum(film.rgb for film in drawn) == 27
    assert [film.name for film in drawn][:1] == ["CHNCXR_0001_0"]
    assert drawn[325].name == "CHNCXR_0326_0"
    assert drawn[326].name == "CHNCXR_0327_1"
    assert drawn[-1].name == "CHNCXR_0662_1"
    assert sum(film.rgb for film in films(100, seed=3)) == 4


@pytest.mark.parametrize("rgb", [False, True])
def test_files_have_a_palette_or_three_channels(tmp_path: Path, rgb: bool) -> None:
    (tmp_path / "CXR_png").mkdir()
    (tmp_path / "ClinicalReadings").mkdir()
    film = Film(number=7, tuberculosis=True, rgb=rgb)
    write_film(film, root=tmp_path, seed=0, size=96)
    with Image.open(tmp_path / "CXR_png" / "CHNCXR_0007_1.png") as image:
        assert image.mode == ("RGB" if rgb else "P")
        picture = np.asarray(image.convert("RGB"))
    assert np.array_equal(picture[..., 0], picture[..., 1])
    assert np.array_equal(picture[..., 0], picture[..., 2])
    assert picture.std() > 20
    assert (tmp_path / "ClinicalReadings" / "CHNCXR_0007_1.txt").is_file()


def test_readings_hold_the_oddities_of_the_release() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(400):
        ages = {"male": bool(rng.random() < 0.5), "age": float(rng.uniform(15, 80))}
        texts.append(write_reading(rng, tuberculosis=False, findings=Findings(), **ages))
    firsts = [text.splitlines()[0] for text in texts]
    assert all(text.splitlines()[1].strip() == "normal" for text in texts)
    assert any(re.fullmatch(r"(fe)?male \d+yrs", first) for first in firsts)
    for oddity in (r"^\w+, \d", r"^[a-zA-Z]+\d", r"^(mael|femal)\b", r"\d yrs$", r"^[MF]"):
        assert any(re.search(oddity, first) for first in firsts), oddity
    assert any(re.search(r"\t+\s*$", text) for text in texts)
    assert any("\r\n" in text for text in texts)


def test_infants_are_aged_in_days_and_months() -> None:
    rng = np.random.default_rng(0)
    texts = [write_reading(rng, male=True, age=a, tuberculosis=False, findings=Findings()) for a in (0.03, 0.5)]
    assert re.search(r"\d+days", texts[0])
    assert re.search(r"\d+(month|months|mos)", texts[1])


def test_tuberculosis_readings_run_over_several_lines() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(60):
        findings = tuberculosis_findings(rng, 0.8)
        texts.append(write_reading(rng, male=False, age=40, tuberculosis=True, findings=findings))
    assert not any("normal" in text for text in texts)
    assert max(len(text.strip().splitlines()) for text in texts) >= 3
