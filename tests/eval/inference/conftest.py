"""A kept classifier, and the same pictures as DICOMs, PNGs and a packed dataset."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import BasicTextSRStorage

from eval.classifier.calibration import Calibration, calibrate
from eval.classifier.file import save_classifier
from eval.classifier.network import ImageClassifier
from pipeline.views import ViewSpec
from shards.images.store import ImageSpec
from shards.packing.build import BuildConfig, build_dataset
from tests.conftest import draw_pattern
from tests.shards.dicom_files import dicom_bytes
from train.encoders.build import build_encoder
from train.encoders.saved import LoadedEncoder

LABELS = ("Edema", "Pleural Effusion")
IMAGE = ImageSpec(size=48)
VIEWS = ViewSpec(size=32, mean=0.4, std=0.2)
NUM_IMAGES = 6


def keep(folder: Path, calibration: Calibration) -> Path:
    """Writes a classifier that nothing has trained."""
    start = LoadedEncoder(encoder=build_encoder("resnet18", seed=0), name="resnet18", views=VIEWS, metadata={})
    save_classifier(
        folder,
        ImageClassifier(start.encoder, 2, seed=1),
        start,
        readout="finetune",
        labels=LABELS,
        image=IMAGE,
        calibration=calibration,
        trained={},
    )
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrated for its first label, without negatives of its second."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (60, 2)).astype(np.float32)
    labels = np.stack([logits[:, 0] + generator.normal(0, 3, 60) > 0, np.ones(60)], axis=1).astype(np.float32)
    return keep(tmp_path_factory.mktemp("kept") / "1-draw0.run", calibrate(logits, labels))


@pytest.fixture(scope="session")
def dicoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of DICOMs with windows, some inverted, in folders with odd names; and what lies beside them."""
    folder = tmp_path_factory.mktemp("neue Bilder ü")
    for number in range(NUM_IMAGES):
        pixels = draw_pattern(number, has_blob=bool(number % 2), width=100, height=80).astype(np.uint16) * 16
        kind = "MONOCHROME1" if number % 3 == 0 else "MONOCHROME2"
        path = folder / f"Müller, Ä {number}" / ("bild" if number % 2 else "bild.dcm")
        path.parent.mkdir()
        elements = {"WindowCenter": 2048, "WindowWidth": 3000, "Modality": "DX"}
        path.write_bytes(dicom_bytes(pixels, bits=12, photometric=kind, **elements))
    return folder


@pytest.fixture(scope="session")
def dataset(dicoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same DICOMs, packed."""
    output = tmp_path_factory.mktemp("packed") / "dataset"
    build_dataset(BuildConfig(source="dicom", input=dicoms, output=output, size=IMAGE.size, workers=1))
    return output


@pytest.fixture
def mixed(dicoms: Path, tmp_path: Path) -> Path:
    """A zip of a DICOM, a PNG, a JPEG, and files that are none or damaged."""
    folder = tmp_path / "mixed"
    shutil.copytree(min(dicoms.iterdir()), folder / "dicom")
    Image.fromarray(draw_pattern(7, has_blob=True)).save(folder / "a.png")
    Image.fromarray(draw_pattern(8, has_blob=False)).save(folder / "a.jpg", quality=95)
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "flat.png").write_bytes((folder / "a.png").read_bytes())
    Image.fromarray(np.full((64, 64), 9, dtype=np.uint8)).save(folder / "flat.png")
    (folder / "ct.dcm").write_bytes(dicom_bytes(draw_pattern(9, has_blob=True), Modality="CT"))
    report = dicom_bytes(draw_pattern(9, has_blob=True), Modality="SR", SOPClassUID=BasicTextSRStorage, Rows=None)
    (folder / "report.dcm").write_bytes(report)
    (folder / "named.dcm").write_text("no DICOM")
    (folder / "notes.txt").write_text("no image")
    path = tmp_path / "mixed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path
