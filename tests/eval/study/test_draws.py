"""Draws nest, keep patients whole, hold both classes of all labels, and go through a file unchanged."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.grid.draw_lists import export_draws
from eval.study.draws import LabelledDraw, import_draws, label_matrix, labelled_draws
from eval.study.protocol import Protocol
from shards.base.errors import InputError
from shards.format.schema import FORMAT_VERSION, index_schema, table_from_rows
from shards.index import ShardIndex

LABELS = ("Finding", "Rare")


def protocol(**settings) -> Protocol:
    common = {"name": "clean", "by": "patient", "uncertain": "ignore", "view": "all", "train_split": "train"}
    return Protocol(**common | {"valid_split": None, "test_split": "test", "seed": 0} | settings)


@pytest.fixture
def make_train(tmp_path: Path) -> Callable[[Sequence[dict]], ShardIndex]:
    """Makes a training set with the labels ``Finding`` and ``Rare`` of rows that name what matters."""

    def make(rows: Sequence[dict]) -> ShardIndex:
        common = {"dataset": "made", "split": "train", "width": 8, "height": 8, "shard": "a.tar", "length": 1}
        full = [common | {"key": f"k{i}", "crc32": i, "offset": i} | row for i, row in enumerate(rows)]
        pq.write_table(table_from_rows(full, index_schema(LABELS, texts=())), tmp_path / "index.parquet")
        about = {"format_version": FORMAT_VERSION, "labels": LABELS, "fingerprint": "made", "image": {"format": "jpeg"}}
        (tmp_path / "dataset.json").write_text(json.dumps(about))
        return ShardIndex.open(tmp_path)

    return make


def rows_of(num_patients: int, *, every: int, rare: int = 10, images: int = 3) -> list[dict]:
    """Patients with several images each; every so many patients one has the finding."""
    return [
        {"patient_id": f"p{patient}", "Finding": int(patient % every == 0), "Rare": int(patient % rare == 0)}
        for patient in range(num_patients)
        for _ in range(images)
    ]


def one(train: ShardIndex, fraction: float, *, draw: int = 0, **settings) -> LabelledDraw:
    return labelled_draws(train, ["Finding"], {fraction: [draw]}, protocol=protocol(**settings))[0]


def test_draws_are_nested_and_keep_patients_whole(make_train) -> None:
    train = make_train(rows_of(200, every=3))
    for draw in range(3):
        small, large = one(train, 0.05, draw=draw), one(train, 0.5, draw=draw)
        assert set(small.rows) < set(large.rows)
        assert small.num_patients * 3 == len(small.rows)
        assert len(large.rows) == 300
        assert not large.is_extended
    draws = [one(train, 0.5, draw=draw).rows.tolist() for draw in range(3)]
    assert draws[0] != draws[1] != draws[2]
    np.testing.assert_array_equal(one(train, 1.0).rows, train.rows)


def test_published_draws_are_of_images(make_train) -> None:
    train = make_train(rows_of(200, every=3))
    small, large = (one(train, share, by="image", name="published") for share in (0.05, 0.5))
    assert len(small.rows) == 30
    assert small.num_patients > 20  # 10, were patients whole
    assert set(small.rows) < set(large.rows)


def test_labels_and_patients_belong_to_the_rows_and_all_labels_share_them(make_train) -> None:
    train = make_train(rows_of(60, every=4, rare=5))
    drawn = labelled_draws(train, LABELS, {0.4: [1]}, protocol=protocol())[0]
    chosen = train.take(train.positions(drawn.rows))
    np.testing.assert_array_equal(drawn.labels, np.stack([chosen.labels(name) for name in LABELS], axis=1))
    names = chosen.column("patient_id")
    assert len(set(zip(drawn.patients, names, strict=True))) == len(set(names)) == drawn.num_patients == 24
    np.testing.assert_array_equal(drawn.rows, one(train, 0.4, draw=1).rows)


def test_a_draw_is_extended_by_the_fewest_patients_that_give_both_classes_of_all_labels(make_train) -> None:
    train = make_train(rows_of(300, every=3, rare=60, images=1))
    reference = next(count for count in range(3, 301) if (train.fraction(count / 300).labels("Rare") == 1).sum() >= 2)
    drawn = labelled_draws(train, LABELS, {0.02: [0]}, protocol=protocol())[0]
    assert drawn.is_extended
    assert len(drawn.rows) == reference
    assert drawn.num_positives[1] == 2
    assert set(drawn.rows) <= set(labelled_draws(train, LABELS, {0.9: [0]}, protocol=protocol())[0].rows)
    assert not one(train, 0.05).is_extended


def test_a_single_positive_suffices_where_the_split_has_no_more(make_train) -> None:
    assert one(make_train(rows_of(50, every=50, images=1)), 0.1).num_positives == [1]


def test_policies_decide_what_uncertain_counts_as(make_train) -> None:
    train = make_train(
        [{"patient_id": f"p{i}", "Finding": value} for i, value in enumerate([1, 1, 0, 0, -1, -1, None])]
    )
    found = {policy: one(train, 1.0, uncertain=policy) for policy in ("ignore", "ones", "zeros")}
    assert {policy: (draw.num_images, draw.num_positives) for policy, draw in found.items()} == {
        "ignore": ([5], [2]),
        "ones": ([7], [4]),
        "zeros": ([7], [2]),
    }
    assert len(found["ignore"].rows) == 7


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_fraction_out_of_range_is_refused(make_train, fraction: float) -> None:
    with pytest.raises(InputError, match="--fraction"):
        one(make_train(rows_of(9, every=3)), fraction)


def test_one_class_is_refused(make_train) -> None:
    with pytest.raises(InputError, match="'Finding'.*27 positive and 0 negative"):
        one(make_train(rows_of(9, every=1)), 1.0)


def test_fewer_positives_than_draws_are_refused(make_train) -> None:
    train = make_train(rows_of(50, every=2, rare=25))
    with pytest.raises(InputError, match="--draws 5.*2 positive patients of 'Rare'.*at most 2"):
        labelled_draws(train, LABELS, {0.1: 5}, protocol=protocol())
    assert len(labelled_draws(train, LABELS, {0.1: 2}, protocol=protocol())) == 2
    assert len(labelled_draws(train, ["Finding"], {0.1: 5, 1.0: 5}, protocol=protocol())) == 6  # all, in one way only


def test_labels_are_named_once(make_train) -> None:
    train = make_train(rows_of(9, every=3))
    with pytest.raises(InputError, match="given twice"):
        label_matrix(train, ["Finding", "Finding"])
    with pytest.raises(InputError, match="none given"):
        label_matrix(train, [])


def test_exported_draws_are_imported_as_they_were(make_train, tmp_path: Path) -> None:
    train = make_train(rows_of(80, every=3)).take(np.arange(239, -1, -1))  # rows that do not ascend
    wanted = {1 / 3: 2, 0.1: 3}
    drawn = labelled_draws(train, LABELS, wanted, protocol=protocol())
    export_draws(tmp_path / "files" / "draws.parquet", drawn, train)
    imported = import_draws(tmp_path / "files" / "draws.parquet", train)
    again = labelled_draws(train, LABELS, wanted, protocol=protocol(seed=9), imported=imported)
    assert [(draw.fraction, draw.draw, draw.hash) for draw in again] == [
        (draw.fraction, draw.draw, draw.hash) for draw in drawn
    ]
    assert again[0].num_positives == drawn[0].num_positives
    assert len({draw.hash for draw in drawn}) == 5
    with pytest.raises(InputError, match="no draw 3 of fraction 0.1"):
        labelled_draws(train, LABELS, {0.1: 4}, protocol=protocol(), imported=imported)


def test_files_that_are_no_draws_are_refused(make_train, tmp_path: Path) -> None:
    train = make_train(rows_of(9, every=3))
    path = tmp_path / "draws.parquet"
    with pytest.raises(InputError, match="no such file"):
        import_draws(path, train)
    path.write_text("text")
    with pytest.raises(InputError, match="is no Parquet"):
        import_draws(path, train)
    pq.write_table(pa.table({"key": ["k0"]}), path)
    with pytest.raises(InputError, match="has no one column dataset, fraction, draw"):
        import_draws(path, train)
    full = {"dataset": ["made", "made"], "key": ["k0", "elsewhere"], "fraction": [0.5, 0.5], "draw": [0, 0]}
    pq.write_table(pa.table(full), path)
    with pytest.raises(InputError, match="1 images are not in the training set, such as made/elsewhere"):
        import_draws(path, train)
    pq.write_table(pa.table(full | {"key": ["k0", "k1"]}), path)
    with pytest.raises(InputError, match=r"'Finding'.*draw 0 of fraction 0.5 has 2 positive and 0 negative"):
        labelled_draws(train, ["Finding"], {0.5: 1}, protocol=protocol(), imported=import_draws(path, train))
