import pytest

from tests.shards.images.corpus import explanation, files_of, pydicom_folders, survey


@pytest.fixture(scope="module")
def found():
    """Over what pydicom ships; more with the package pydicom-data, whose files of other kinds than images take long."""
    return survey(path for path in files_of(pydicom_folders()) if path.stat().st_size < 2_000_000)


def test_every_disagreement_with_independent_decoders_is_explained(found):
    assert found.num_read >= 60
    assert {name for name in found.differ if not explanation(name)} == set()
    assert found.compared["pydicom", "within a level"] >= 60


def test_what_is_refused_is_told_in_words(found):
    assert set(found.refused) <= {"damaged", "inconsistent", "multi-frame", "no-pixels", "too-small", "too-large"}
    said = [message for messages in found.refused.values() for message in messages]
    assert not [message for message in said if "Error" in message or "Exception" in message]
