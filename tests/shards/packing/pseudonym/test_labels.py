"""Names of labels that come from folders and lists can be those of patients; ages and projections tell little."""

import json
from dataclasses import replace

import pytest

from shards.base.errors import InputError
from shards.packing.config import BuildConfig
from shards.packing.plan import make_plan
from shards.packing.pseudonym import Pseudonyms, shared_labels
from shards.sources.record import Record
from shards.sources.release import Note, Release
from tests.shards.packing.pseudonym.planting import NAME, pngs, write

PSEUDONYMS = Pseudonyms(b"a key of more than sixteen bytes")


def release(labels, *, is_known=True, found=None):
    """``labels`` of each record, of a patient each."""
    records = [
        Record(
            key=f"k{number}",
            name=f"{number}.png",
            source_path=f"{number}.png",
            split="train",
            patient_id=str(number),
            study_id=str(number),
            labels=of,
            is_patient_known=is_known,
        )
        for number, of in enumerate(labels)
    ]
    names = tuple(sorted({name for of in labels for name in of}))
    return Release(
        labels=names,
        records=records,
        found_labels=frozenset(names if found is None else found),
        blanks=dict.fromkeys(names, "unknown"),
    )


def test_findings_that_few_patients_have_go_with_a_note():
    found = release([{"Edema": 1, NAME: 0}] * 5 + [{"Edema": 0, NAME: 1}] * 4)
    assert shared_labels(found) == {"Edema"}
    hidden = PSEUDONYMS.release(found)
    assert (hidden.labels, dict(hidden.blanks)) == (("Edema",), {"Edema": "unknown"})
    assert [dict(record.labels) for record in hidden.records].count({"Edema": 1}) == 5
    assert NAME not in repr(hidden)
    assert "1 labels were left out" in hidden.notes[-1]
    assert len({id(record.labels) for record in hidden.records}) == 2, "shared, as they were"


def test_labels_that_the_user_or_the_publication_names_stay():
    assert PSEUDONYMS.release(release([{"Rare": 1}], found=())).labels == ("Rare",)
    assert PSEUDONYMS.release(release([{"Rare": 1}]), keep_labels=["Rare"]).labels == ("Rare",)
    with pytest.raises(InputError, match="--keep-labels Other: the input has no such label"):
        PSEUDONYMS.release(release([{"Rare": 1}]), keep_labels=["Other"])


def test_where_patients_are_not_known_one_rare_name_speaks_against_all():
    """Folders of patients, of whom one has a hundred images."""
    folders = [{"A": 1, "B": 0}] * 100 + [{"A": 0, "B": 1}] * 4
    assert shared_labels(release(folders, is_known=False)) == set()
    assert shared_labels(release([*folders, {"A": 0, "B": 1}], is_known=False)) == {"A", "B"}
    assert shared_labels(release(folders)) == {"A"}


def test_notes_lose_what_they_quote():
    found = replace(release([{}]), notes=[Note(f"one, such as {NAME}", bare="one"), f"some string of {NAME}"])
    assert PSEUDONYMS.release(found).notes == ["one", "a note is withheld, because it may name a patient"]


def test_ages_end_at_90_and_projections_are_known_codes():
    record = release([{}]).records[0]
    said = [PSEUDONYMS.record(replace(record, age=age)).age for age in (None, 0.5, 90.0, 97.0)]
    assert said == [None, 0.5, 90.0, 90.0]
    words = ["PA", "AP AXIAL", "LL", f"AP, MRS {NAME}", NAME, f"PA AND LATERAL OF {NAME}", "PA AND AP", None]
    said = [PSEUDONYMS.record(replace(record, projection=word)).projection for word in words]
    assert said == ["PA", "AP AXIAL", "LL", "AP", None, "PA", None, None]


def test_class_folders_are_kept_where_they_are_no_patients(tmp_path):
    (tmp_path / "key").write_bytes(PSEUDONYMS.secret)
    image = pngs(0)["text"]
    root = write(
        tmp_path / "in",
        {
            f"{split}/{kind}/{n}.png": image
            for split in ("train", "test")
            for kind in ("SICK", "WELL")
            for n in range(3)
        },
    )
    config = BuildConfig(source="folder", input=root, output=tmp_path / "out", pseudonymise=tmp_path / "key")
    assert make_plan(config).packing.labels == ("SICK", "WELL")
    write(root, {f"train/{NAME}/a.png": image})
    assert make_plan(config).packing.labels == ()
    chosen = make_plan(replace(config, keep_labels=("SICK", "WELL")))
    assert chosen.packing.labels == ("SICK", "WELL")
    assert NAME not in json.dumps([dict(record.labels) for record in chosen.records])
    with pytest.raises(InputError, match="--keep-labels: has no meaning without --pseudonymise"):
        make_plan(replace(config, pseudonymise=None, keep_labels=("SICK",)))
