import numpy as np

from shards.sources.files import open_files
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.dicom_files import dicom_bytes

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
REPORTS = """filename,SOPInstanceUID,Report,EncodedPixels
P1_a.dcm,1.4.435,"Left
drain.",1034 5
P1_b.dcm,1.4.436,,-1
P2_c.dcm,1.4.437,Clear.,-1
P3_d.dcm,1.4.438,Clear.,-1
P4_d.dcm,1.4.438,Clear.,-1
"""


def test_lists_of_masks_and_files_without_suffix(tmp_path):
    (tmp_path / "Pneumothorax_reports.csv").write_text(REPORTS)
    (tmp_path / "chest_tube.csv").write_text("anon_SOPUID,mask_rle\n1.4.435,3 4\n1.4.437,-1\n")
    (tmp_path / "dataset").mkdir()
    for number in range(435, 439):
        (tmp_path / "dataset" / f"1.4.{number}").write_bytes(dicom_bytes(PIXELS, PatientSex="M", PatientID="other"))
    found = read_release("candid", open_files(tmp_path), SourceOptions())
    assert found.labels == ("Pneumothorax", "Chest Tube")
    first, second, third = found.records
    assert (first.labels, first.patient_id, first.sex) == ({"Pneumothorax": 1, "Chest Tube": 1}, "P1", "M")
    assert (first.findings, [box.label for box in first.boxes]) == ("Left drain.", ["Pneumothorax", "Chest Tube"])
    assert (second.labels, second.patient_id, second.boxes) == ({"Pneumothorax": 0, "Chest Tube": 0}, "P1", ())
    assert third.labels["Chest Tube"] == 0
    assert [(one.source_path, one.message) for one in found.rejected] == [("1.4.438", "listed under several patients")]
    assert "acute_rib_fracture.csv is not in this copy, so Rib Fracture is unknown" in found.notes
