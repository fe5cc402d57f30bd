from pathlib import Path

import pytest

from eval.search.config import candidates, epochs_at, num_rungs, read_search
from shards.base.errors import InputError

TEXT = "data: {data}\nlabel: sick\nrecipes: debug\nimages: 960\n"


def search_of(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(text)
    return path


def test_candidates_are_each_setting_with_each(packed: Path, tmp_path: Path) -> None:
    text = TEXT.format(data=packed) + "settings: {views.area: [[0.5, 1], [0.7, 1]], optimizer.lr: [1e-3, 3e-4]}\n"
    config = read_search(search_of(tmp_path, text))
    assert config.folder == tmp_path / "search"
    made = candidates(config)
    assert [each.name for each in made] == [
        f"debug views.area {area} optimizer.lr {rate}" for area in ("0.5-1", "0.7-1") for rate in ("0.001", "0.0003")
    ]
    assert [each.config.views.area for each in made] == [(0.5, 1), (0.5, 1), (0.7, 1), (0.7, 1)]
    assert {each.config.schedule.name for each in made} == {"constant"}
    assert {each.num_images for each in made} == {120}
    rungs = num_rungs(config, len(made))
    assert rungs == 3
    assert [epochs_at(config, made[0], rung, rungs) for rung in range(rungs)] == [2, 4, 8]


def test_several_mappings_stand_beside_one_another(packed: Path, tmp_path: Path) -> None:
    text = TEXT.format(data=packed) + "settings: [{}, {views.area: [[0.7, 1]]}, {optimizer.lr: [1e-3, 3e-4]}]\n"
    names = [each.name for each in candidates(read_search(search_of(tmp_path, text)))]
    settings = ["", " views.area 0.7-1", " optimizer.lr 0.001", " optimizer.lr 0.0003"]
    assert names == [f"debug{each}" for each in settings]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images: 960\nminutes: 3", "images, minutes: give one of the two"),
        ("minutes: 3\nschedule: own", "minutes 3: .*give images, or schedule"),
        ("images: 960\nsettings: {views.aera: [[0.5, 1]]}", "candidate debug views.aera 0.5-1: .*views.aera"),
        ("images: 960\nsettings: {run.seed: [1]}", "settings run.seed: give the name of a setting"),
        ("images: 960\nsettings: {method.queue_size: [4096]}", "queue_size 4096: larger than the 120 images"),
        ("images: 960\nsettings: {optimizer.lr: []}", "settings optimizer.lr: no value given"),
        ("images: 960\nsettings: []", "settings"),
        ("images: 960\nsettings: [{}, {optimizer.lr: [1e-3, 1e-3]}]", "debug optimizer.lr 0.001: is there twice"),
        ("images: 960\nfraction: {ill: 0.1}", "fraction ill: no label of this search; give one of sick"),
        ("images: 960\nfraction: {sick: 2}", "fraction.sick 2: out of range"),
        ("images: 960\nfraction: a", "fraction 'a': give a number"),
        ("images: 960\nseeds: [1, 1]", "seeds 1 1: give at least one, and none twice"),
        ("images: 960\nfolds: 1", "folds"),
        ("images: 0", "images"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(packed: Path, tmp_path: Path, line: str, message: str) -> None:
    text = TEXT.format(data=packed).replace("images: 960", line)
    with pytest.raises(InputError, match=message):
        candidates(read_search(search_of(tmp_path, text)))
