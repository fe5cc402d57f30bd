import pytest
from PIL import Image, ImageOps

from shards.checks.same_picture import detail_of, is_same
from tests.shards.films import FORMS, cut, draw_film


@pytest.fixture(scope="module")
def films():
    return [draw_film(seed) for seed in range(20, 28)]


@pytest.mark.parametrize("form", FORMS)
def test_copies(films, form):
    for film in films:
        assert is_same(detail_of(film), detail_of(FORMS[form](film).convert("L")), is_close=form != "cut")


def test_other_films_are_not_even_where_fingerprints_are_close(films):
    details = [detail_of(film) for film in films]
    pairs = [(one, other) for number, one in enumerate(details) for other in details[:number]]
    assert not any(is_same(*pair, is_close=True) for pair in pairs)


def test_a_margin_cut_off_is_found_either_way(films):
    found = [
        (is_same(detail_of(film), detail_of(cut(film, 0.02))), is_same(detail_of(cut(film, 0.02)), detail_of(film)))
        for film in films
    ]
    assert sum(one and other for one, other in found) >= len(films) - 1


def test_a_part_is_not_the_whole(films):
    """Of half of the picture, the map that fits best is found, and is no mere margin."""
    for film in films[:4]:
        part = film.crop((film.width // 4, film.height // 4, film.width * 3 // 4, film.height * 3 // 4))
        assert not is_same(detail_of(film), detail_of(part))


def test_turned_and_inverted_details(films):
    detail = detail_of(films[0])
    mirrored, inverted = detail_of(ImageOps.mirror(films[0])), detail_of(ImageOps.invert(films[0]))
    assert not is_same(detail, mirrored)
    assert is_same(detail, mirrored[:, ::-1].copy())
    assert not is_same(detail, inverted)
    assert is_same(detail, -inverted)


def test_pictures_without_detail_are_no_copies(films):
    ramp = Image.linear_gradient("L")
    assert not is_same(detail_of(films[0]), detail_of(ramp))
    assert not is_same(detail_of(Image.new("L", (64, 64), 3)), detail_of(films[0]))
