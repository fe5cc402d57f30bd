import os
import shutil

import numpy as np
import pytest

from pipeline.engines.samples import DamagedSample, Samples
from shards.index import ShardIndex


@pytest.fixture
def damaged(tiny_dataset, tmp_path):
    """A copy of the tiny dataset with one bit of row 3 changed."""
    shutil.copytree(tiny_dataset, tmp_path / "damaged")
    index = ShardIndex.open(tmp_path / "damaged")
    place = index.place(3)
    data = bytearray(place.tar.read_bytes())
    data[place.offset + place.length // 2] ^= 4
    place.tar.write_bytes(data)
    return index


def test_what_is_whole_is_read(damaged):
    assert bytes(Samples(damaged).read(4)) == bytes(damaged.read(4))
    out = np.empty((64, 72), dtype=np.uint8)
    assert Samples(damaged).decode(4, out) is out
    np.testing.assert_array_equal(out, Samples(damaged).decode(4))


def test_a_changed_bit_is_named_by_key_shard_and_offset(damaged):
    place = damaged.place(3)
    with pytest.raises(DamagedSample) as caught:
        Samples(damaged).read(3)
    for part in (place.key, "row 3", str(place.tar), f"{place.length} bytes at offset {place.offset}", "checksum"):
        assert part in str(caught.value)


def test_without_checksums_only_what_does_not_decode_is_seen(damaged):
    samples = Samples(damaged, checksums=False)
    assert samples.read(3) == damaged.read(3)
    place = damaged.place(5)
    data = bytearray(place.tar.read_bytes())
    data[place.offset : place.offset + 16] = bytes(16)
    place.tar.write_bytes(data)
    with pytest.raises(DamagedSample, match=r"row 5: .* cannot be decoded \(neither JPEG nor PNG\)"):
        samples.decode(5)


def test_an_image_behind_the_end_of_its_shard_is_damaged(damaged):
    place = damaged.place(3)
    os.truncate(place.tar, place.offset + 5)
    with pytest.raises(DamagedSample, match=rf"row 3: .* is cut off, as its shard has {place.offset + 5:,} bytes only"):
        Samples(damaged, checksums=False).read(3)


def test_an_image_of_another_size_is_refused(damaged):
    with pytest.raises(DamagedSample, match="row 4: .* cannot be decoded"):
        Samples(damaged).decode(4, np.empty((60, 72), dtype=np.uint8))


def test_skipping_takes_the_next_whole_image(damaged):
    samples, rows = Samples(damaged, on_damage="skip"), np.array([7, 3, 8, 9, 5])
    damage = {position: samples.damaged(int(rows[position]), "is bad") for position in (1, 2, 4)}
    assert samples.skip({}, rows).tolist() == [0, 1, 2, 3, 4]
    assert not samples.skipped
    assert samples.skip(damage, rows).tolist() == [0, 3, 3, 3, 0]
    assert sorted(samples.skipped) == [3, 5, 8]
    assert "row 3" in samples.skipped[3]


def test_nothing_is_skipped_unasked_or_without_a_whole_image(damaged):
    rows = np.array([3, 4])
    samples = Samples(damaged)
    with pytest.raises(DamagedSample, match="row 4"):
        samples.skip({1: samples.damaged(4, "is bad")}, rows)
    skipping = Samples(damaged, on_damage="skip")
    with pytest.raises(DamagedSample, match="row 3"):
        skipping.skip({i: skipping.damaged(int(row), "is bad") for i, row in enumerate(rows)}, rows)
