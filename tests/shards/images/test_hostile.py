"""Broken pictures and DICOM files, thousands of them: each is packed or refused, in little time and memory."""

import pytest

from tests.shards.images.fuzz import dicoms, fuzz, judge, pictures


@pytest.mark.parametrize("files", [pictures, dicoms])
def test_unbroken_they_are_packed(files):
    assert {judge((name, data)) for name, data in files().items()} == {"packed"}


@pytest.mark.slow
@pytest.mark.parametrize("files", [pictures, dicoms])
@pytest.mark.parametrize("seed", [0, 1])
def test_broken_they_are_packed_or_refused(files, seed):
    found, lost = fuzz(files(), seconds=10, seed=seed)
    assert found.total() > 100
    assert found["damaged"] > 20
    assert found["packed"] > 20
    assert not lost
