import csv
import hashlib
import hmac
import json

import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards.base.errors import InputError
from shards.index import ShardIndex
from shards.packing.build import BuildConfig, build_dataset
from shards.packing.pseudonym import Pseudonyms, read_key
from shards.sources.record import Record
from shards.sources.reports.chexpert import LABELS
from tests.conftest import draw_pattern

KEY = b"a key of more than sixteen bytes"
HEAD = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"]


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    return path


def write_release(folder, patients):
    """A CheXpert release of one image a patient; the last one's image is damaged."""
    rows = []
    for number, patient in enumerate(patients):
        name = f"train/{patient}/study1/view1_frontal.jpg"
        path = folder / name
        path.parent.mkdir(parents=True)
        Image.fromarray(draw_pattern(number, has_blob=True)).save(path, comment=patient)
        if number == len(patients) - 1:
            path.write_bytes(path.read_bytes()[:300])
        rows.append([f"CheXpert-v1.0-small/{name}", "Female", 60, "Frontal", "AP", *["1.0"] * len(LABELS)])
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*HEAD, *LABELS], *rows])
    return folder


def build(source, output, key, **options):
    defaults = {"source": "chexpert", "size": 48, "workers": 1, "max_rejected": 0.5, "shard_images": 4}
    build_dataset(BuildConfig(input=source, output=output, pseudonymise=key, **(defaults | options)))
    return ShardIndex.open(output)


def test_nothing_in_the_output_names_a_patient(tmp_path, key):
    patients = [f"patient{number:05d}" for number in range(9)]
    build(write_release(tmp_path / "source", patients), tmp_path / "out", key)
    rejected = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert [row["reason"] for row in rejected] == ["damaged"]
    index = pq.read_table(tmp_path / "out" / "index.parquet")
    texts = [json.dumps(index.to_pylist(), default=repr), json.dumps(rejected)]
    texts += [path.read_bytes().decode("latin-1") for path in (tmp_path / "out").iterdir()]
    for text in texts:
        for planted in ("patient0", "study1", "view1", "train/"):
            assert planted not in text


def test_a_patient_has_one_pseudonym_in_every_dataset_of_a_key(tmp_path, key):
    patients = [f"patient{number:05d}" for number in range(9)]
    one = build(write_release(tmp_path / "one", patients), tmp_path / "a", key)
    two = build(write_release(tmp_path / "two", patients[4:]), tmp_path / "b", key)
    shared = set(one.column("patient_id")) & set(two.column("patient_id"))
    assert len(shared) == 4, "of patients 4 to 7; the last image of each release is damaged"
    other = tmp_path / "other"
    other.write_bytes(KEY[::-1])
    assert not shared & set(build(tmp_path / "two", tmp_path / "c", other).column("patient_id"))


def test_the_order_of_rows_does_not_tell_the_release_order(tmp_path, key):
    source = write_release(tmp_path / "source", [f"patient{number:05d}" for number in range(9)])
    pseudonyms = read_key(key)
    plain = build(source, tmp_path / "plain", None).column("source_path")
    hidden = build(source, tmp_path / "hidden", key).column("source_path")
    translated = [pseudonyms.of("image", path) for path in plain]
    assert sorted(translated) == sorted(hidden)
    assert translated != list(hidden)


def test_another_key_does_not_continue_a_build(tmp_path, key):
    source = write_release(tmp_path / "source", [f"patient{number:05d}" for number in range(3)])
    build(source, tmp_path / "out", key)
    key.write_bytes(KEY[::-1])
    with pytest.raises(InputError, match="was packed with other options .a key, "):
        build(source, tmp_path / "out", key)


def test_hashes_are_hmac_and_kinds_differ():
    pseudonyms = Pseudonyms(KEY)
    assert pseudonyms.of("patient", "7") == hmac.new(KEY, b"moco-cxr patient\x007", hashlib.sha256).hexdigest()[:32]
    assert len({pseudonyms.of(kind, "7") for kind in ("patient", "study", "image")}) == 3
    assert KEY.decode() not in repr(pseudonyms)


@pytest.mark.parametrize("keep_text", [False, True])
def test_free_text_goes_unless_it_is_kept(keep_text):
    record = Record(
        key="a", name="a.jpg", source_path="a.jpg", split="train", patient_id="1", study_id="1/1", indication="Mr Smith"
    )
    hidden = Pseudonyms(KEY).record(record, keep_text=keep_text)
    assert hidden.indication == ("Mr Smith" if keep_text else None)
    assert (hidden.name, hidden.key) == ("a.jpg", hidden.source_path)


def test_key_files_that_cannot_be_used(tmp_path, key):
    with pytest.raises(
        InputError, match="(no such file|cannot be read|is no file).*make one with: head -c 32 /dev/urandom"
    ):
        read_key(tmp_path / "none")
    with pytest.raises(InputError, match="lies inside"):
        read_key(key, apart_from=(tmp_path,))
    key.write_bytes(b"short\n")
    with pytest.raises(InputError, match="holds 5 bytes, needs 16"):
        read_key(key)
    for content in (bytes(32), b"k" * 20 + bytes(20)):
        key.write_bytes(content)
        with pytest.raises(InputError, match="holds zeros, as a file that was not written to its end; make one with"):
            read_key(key)
