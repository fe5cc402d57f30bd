"""Fingerprints: near for copies, far for other films, and the same by way of a plain formulation."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from scipy.stats import rankdata

from shards.images.fingerprint import IS_ODD, NUM_BYTES, as_vectors, fingerprints, thumbnail
from shards.images.store import ImageSpec, store_image
from tests.shards.films import FORMS, draw_film


def fingerprint(film):
    return fingerprints([thumbnail(film)])[0]


def vector(film):
    return as_vectors([fingerprint(film)])[0]


def distance(one, other):
    return float(np.linalg.norm(one - other))


@pytest.fixture(scope="module")
def films():
    return [draw_film(seed) for seed in range(12)]


def test_against_a_plain_formulation(films):
    for film in films[:3]:
        small = np.asarray(film.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=1.0))
        waves = dctn(rankdata(small).reshape(32, 32), norm="ortho")[:8, :8]
        waves *= np.sqrt(np.hypot(*np.mgrid[:8, :8]))
        reference = waves.ravel()[1:] / np.linalg.norm(waves.ravel()[1:])
        np.testing.assert_allclose(np.frombuffer(fingerprint(film), np.int8) / 127, reference, atol=0.5 / 127 + 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_copies_are_nearer_than_other_films(films, form):
    marks = np.stack([vector(film) for film in films])
    copies = np.stack([vector(FORMS[form](film).convert("L")) for film in films])
    distances = np.linalg.norm(marks[:, None] - copies, axis=2)
    assert distances.diagonal().max() < (0.25 if form == "cut" else 0.15)
    assert (distances + np.eye(len(films))).min() > 0.2


def test_of_many_as_of_one(films):
    """Whatever the batch, one of which may show nothing."""
    thumbnails = [thumbnail(film) for film in films]
    thumbnails[5:5] = [bytes(1024)]
    assert fingerprints(thumbnails) == [fingerprints([one])[0] for one in thumbnails]
    assert fingerprints(thumbnails * 100) == fingerprints(thumbnails) * 100
    assert fingerprints([]) == []


def test_mirrored_and_inverted_signs(films):
    for film in films[:4]:
        mark = vector(film)
        assert distance(vector(film.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), np.where(IS_ODD, -mark, mark)) < 0.05
        assert distance(vector(film.point(lambda level: 255 - level)), -mark) < 0.05


def test_what_shows_nothing_has_none():
    assert fingerprint(Image.new("L", (64, 48), 7)) is None
    speck = np.zeros((320, 320), np.uint8)
    speck[100, 50] = 9
    assert fingerprint(Image.fromarray(speck)) is None
    speck[100:110, 50:60] = 9
    assert len(fingerprint(Image.fromarray(speck))) == NUM_BYTES


@pytest.mark.parametrize("size", [40, 100, 224, 256])
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_stored_anew_or_passed_unchanged(films, size, form):
    """A file that is packed as it came, of which a JPEG is decoded at a reduced size only, has the fingerprint of the
    picture that it was stored from."""
    spec = ImageSpec(size=size, format=form)
    for film in films[:4]:
        buffer = io.BytesIO()
        film.save(buffer, "PNG", pnginfo=None)
        stored = store_image(buffer.getvalue(), spec)
        passed = store_image(stored.data, spec)
        assert passed.data == stored.data
        marks = as_vectors(fingerprints([stored.thumbnail, passed.thumbnail]))
        assert distance(*marks) < 0.1
        assert distance(marks[0], vector(film)) < 0.1
