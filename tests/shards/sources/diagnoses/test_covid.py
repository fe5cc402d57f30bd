from shards.format.blank import UNKNOWN
from shards.sources.options import SourceOptions
from shards.sources.registry import read_release
from tests.shards.sources.listed_files import ListedFiles

ROWS = """patientid,offset,sex,age,finding,RT_PCR_positive,view,modality,folder,filename,clinical_notes
2,0,M,65,Pneumonia/Viral/COVID-19,Y,PA,X-ray,images,a.jpg,Fever
2,3,M,65,Pneumonia/Viral,Y,AP Supine,X-ray,images,b.jpg,
4,,F,30,No Finding,,L,X-ray,images,c.jpg,
5,,F,30,Pneumonia/Bacterial,,PA,X-ray,images,d.jpg,
6,,F,30,todo,,PA,X-ray,images,e.jpg,
7,,F,30,Pneumonia,,Axial,CT,volumes,f.nii.gz,
"""
IMAGES = [f"images/{name}.jpg" for name in "abcde"]


def test_findings_are_paths_in_a_tree():
    files = ListedFiles({"metadata.csv": ROWS.encode()}, IMAGES)
    found = read_release("covid", files, SourceOptions(keep_columns=("RT_PCR_positive",)))
    assert found.labels == ("Bacterial", "COVID-19", "Pneumonia", "Viral")
    covid, viral, nothing, bacterial, todo = (record.labels for record in found.records)
    assert covid == {"Pneumonia": 1, "Viral": 1, "COVID-19": 1, "Bacterial": 0}
    assert viral == {"Pneumonia": 1, "Viral": 1, "Bacterial": 0}, "which virus is not said"
    assert nothing == dict.fromkeys(found.labels, 0)
    assert bacterial == {"Pneumonia": 1, "Viral": 0, "COVID-19": 0, "Bacterial": 1}
    assert todo == dict.fromkeys(found.labels, UNKNOWN)
    assert [(one.source_path, one.reason) for one in found.rejected] == [("f.nii.gz", "other-modality")]
    first, second, third = found.records[:3]
    assert (first.kept, first.study_id, first.findings) == ({"RT_PCR_positive": "Y"}, "2/0", "Fever")
    assert (second.view, second.projection, third.view) == ("frontal", "AP SUPINE", "lateral")


def test_a_list_of_latin_1_without_file_names():
    rows = "patientid,finding,view,modality,notes\nCOVID-00001,COVID-19,PA,X-ray,Zürich\n".encode("latin-1")
    (one,) = read_release(
        "covid", ListedFiles({"metadata.csv": rows}, ["images/COVID-00001.jpg"]), SourceOptions()
    ).records
    assert (one.name, one.labels) == ("images/COVID-00001.jpg", {"COVID-19": 1})
