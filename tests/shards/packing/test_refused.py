"""Builds that must fail by what is known before anything is packed."""

import numpy as np
import pytest

from shards.base.errors import InputError
from shards.packing.build import build_dataset, run_build
from shards.packing.config import BuildConfig
from shards.sources.options import SourceOptions
from tests.conftest import write_patterns
from tests.shards.builds import config
from tests.shards.dicom_files import dicom_bytes


@pytest.fixture
def hospital(tmp_path):
    """An export of six studies, and a list in words that nobody has explained."""
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    folder = tmp_path / "export"
    folder.mkdir()
    rows = ["AccessionNumber,Erguss"]
    for number, word in enumerate(["nein", "nein", "ja", "nein", "", "ja"]):
        tags = {"PatientID": f"P{number}", "AccessionNumber": f"A{number}"}
        (folder / f"{number}.dcm").write_bytes(dicom_bytes(pixels, **tags, SOPInstanceUID=f"1.{number}"))
        rows.append(f"A{number},{word}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    listed = SourceOptions(csv=tmp_path / "labels.csv", join="accession", label_columns=("Erguss",))
    return BuildConfig(source="dicom", input=folder, output=tmp_path / "out", size=16, workers=1, source_options=listed)


def test_words_that_are_not_understood_stop_the_build_before_it(hospital, capsys):
    for dry_run in (False, True):
        with pytest.raises(InputError) as caught:
            run_build(hospital, dry_run=dry_run)
        said = str(caught.value)
        assert said.startswith("5 of 6 images (83.33%) are refused already (bad-row 5), over --max-rejected 0.01: ")
        assert "words that are not understood as labels: 'nein' 3, 'ja' 2; --positive-words and --negative-wor" in said
        assert "\n" not in said
        shown = capsys.readouterr().out
        assert "plan: 6 images of 1 patients; train 1, refused 5\n" in shown
        assert f"  warning: {said.removesuffix('; nothing was packed')}\n" in shown
        assert not hospital.output.exists()


def test_files_that_are_missing_stop_the_build_before_it(tmp_path):
    source = write_patterns(tmp_path / "source", {"train": 10})
    for number in range(3):
        path = source / "train" / "blob" / f"blob{number:03d}.png"
        path.unlink()
        path.symlink_to("nowhere")
    said = r"3 of 20 images \(15.00%\) are refused already \(missing or unreadable 3\), over --max-rejected 0.1: "
    with pytest.raises(InputError, match=said):
        build_dataset(config(source, tmp_path / "out", max_rejected=0.1))
    assert not (tmp_path / "out").exists()
    assert build_dataset(config(source, tmp_path / "out", max_rejected=0.15)).num_rejected == 3


def test_where_all_is_refused_it_is_the_source_that_is_to_be_checked(tmp_path):
    (tmp_path / "source" / "blob").mkdir(parents=True)
    (tmp_path / "source" / "blob" / "a.png").write_text("no image")
    with pytest.raises(InputError, match=rf"check --source and --input {tmp_path / 'source'}; nothing was packed"):
        run_build(config(tmp_path / "source", tmp_path / "out", max_rejected=1.0))
