"""Releases with a name planted wherever one can stand, and the search for it in whatever a build leaves."""

import contextlib
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, PngImagePlugin, TiffImagePlugin
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from shards.images import jpeg, png
from shards.sources.reports.chexpert import LABELS as CHEXPERT_LABELS
from shards.sources.reports.mimic import LABELS as MIMIC_LABELS
from tests.conftest import draw_pattern
from tests.shards.dicom_files import dicom_bytes, dicom_dataset

NAME = "Plantedname"
SIDE = 48
# What decides whether and how a file is decoded, or how a text is, cannot hold a name in a file that is packed.
_NEEDED = {"SpecificCharacterSet", "Modality", "PhotometricInterpretation", "PresentationLUTShape", "VOILUTFunction"}
_TEXTS = {"AE": 16, "CS": 16, "LO": 60, "LT": 900, "PN": 60, "SH": 16, "ST": 900, "UC": 60, "UT": 900}


def gray(seed: int) -> Image.Image:
    return Image.fromarray(draw_pattern(seed, has_blob=True, width=SIDE, height=SIDE))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    for tag in (0x010E, 0x013B, 0x8298, 0x0131):  # description, artist, copyright, software
        exif[tag] = f"{NAME} {tag}"
    return exif


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def jpegs(seed: int) -> dict[str, bytes]:
    """JPEGs of the stored form but for what is planted, by where it is planted."""
    plain, name = encoded(gray(seed), "JPEG", quality=95), NAME.encode()
    return {
        "exif": encoded(gray(seed), "JPEG", exif=_exif()),
        "comment": encoded(gray(seed), "JPEG", comment=name),
        "xmp": encoded(gray(seed), "JPEG", xmp=b"<x:xmpmeta>" + name + b"</x:xmpmeta>"),
        "iptc": plain[:2] + _segment(0xED, b"Photoshop 3.0\0" + name) + plain[2:],
        "comment-before-the-end": plain[:-2] + _segment(0xFE, name) + plain[-2:],
        "application-before-the-end": plain[:-2] + _segment(0xEF, name) + plain[-2:],
        "trailer": plain + name,
        "second-picture": plain + encoded(gray(seed), "JPEG", comment=name),
    }


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def pngs(seed: int) -> dict[str, bytes]:
    """The same of PNGs."""
    plain, name = encoded(gray(seed), "PNG"), NAME.encode()
    texts = {kind: PngImagePlugin.PngInfo() for kind in ("text", "ztext", "itext", "private")}
    texts["text"].add_text("Comment", NAME)
    texts["ztext"].add_text("Comment", NAME, zip=True)
    texts["itext"].add_itxt("XML:com.adobe.xmp", NAME)
    texts["private"].add(b"prVt", name)
    rows = np.zeros((SIDE + 1, SIDE + 1), np.uint8)
    rows[:SIDE, 1:] = np.asarray(gray(seed))
    rows[SIDE, 1 : 1 + len(name)] = list(name)
    head, pixels, end = plain[:33], zlib.compress(rows[:SIDE].tobytes()), plain[-12:]
    return {
        **{kind: encoded(gray(seed), "PNG", pnginfo=text) for kind, text in texts.items()},
        "exif": encoded(gray(seed), "PNG", exif=_exif()),
        "trailer": plain + name,
        "behind-the-pixels": head + _chunk(b"IDAT", pixels + name) + end,
        "in-a-chunk-of-its-own": head + _chunk(b"IDAT", pixels) + _chunk(b"IDAT", name) + end,
        "below-the-last-row": head + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 0)) + end,
        "in-the-header": plain[:8] + _chunk(b"IHDR", plain[16:29] + name) + plain[33:],
        "in-the-end": plain[:-12] + _chunk(b"IEND", name),
    }


def others(seed: int) -> dict[str, bytes]:
    """Other kinds of pictures, by suffix."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (270, 271, 272, 305, 306, 315, 316, 33432, 65000):
        tags[tag] = f"{NAME} {tag}"
    name = NAME.encode()
    box = struct.pack(">I", 8 + len(name)) + b"xml " + name
    return {
        "tif": encoded(gray(seed), "TIFF", tiffinfo=tags),
        "bmp": encoded(gray(seed), "BMP") + name,
        "gif": encoded(gray(seed), "GIF", comment=name),
        "webp": encoded(gray(seed).convert("RGB"), "WEBP", exif=_exif(), xmp=name),
        "jp2": encoded(gray(seed), "JPEG2000") + box,
        "dcm": planted_dicom(seed),
    }


def planted_dicom(seed: int, **tags: object) -> bytes:
    """A DICOM file with the name in every text element of the dictionary, in sequences and in private elements."""
    header = dicom_dataset(dicom_bytes(draw_pattern(seed, has_blob=True, width=SIDE, height=SIDE)))
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in _TEXTS and keyword and keyword not in _NEEDED and 0x0008 <= tag >> 16 < 0x7FE0:
            setattr(header, keyword, f"{NAME} {keyword}"[: _TEXTS[kind]])
    inner = Dataset()
    inner.PatientName, inner.TextComments = f"{NAME}^Inner", NAME
    header.RequestAttributesSequence = [inner]
    private = header.private_block(0x0011, f"{NAME} CREATOR", create=True)
    private.add_new(1, "LO", NAME)
    private.add_new(2, "UN", NAME.encode())
    header.add_new((0xFFFC, 0xFFFC), "OB", NAME.encode() + b"\0")
    for keyword, value in tags.items():
        setattr(header, keyword, value)
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def zipped(folder: Path) -> Path:
    """A zip of the folder, with the name in its own name, its comment and its entries' comments."""
    path = folder.with_name(f"{NAME}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = NAME.encode()
        for file in sorted(folder.rglob("*")):
            entry = zipfile.ZipInfo(f"{NAME} export/{file.relative_to(folder)}")
            entry.comment = NAME.encode()
            if file.is_file():
                archive.writestr(entry, file.read_bytes())
    return path


def folder_release(root: Path) -> Path:
    files: dict[str, bytes | str] = {}
    for number, (split, kind) in enumerate((("train", "SICK"), ("test", "WELL"))):
        files |= {f"{split}/{kind}/{NAME} {number}/{place}.jpg": data for place, data in jpegs(number).items()}
        files |= {f"{split}/{kind}/{NAME} {number}/{place}.png": data for place, data in pngs(number).items()}
        for suffix, data in others(number).items():
            files[f"{split}/{kind}/{NAME}-{number}.{suffix}"] = data
    files[f"train/SICK/{NAME}-damaged.jpg"] = jpegs(99)["comment"][:400]
    files[f"train/SICK/{NAME}-damaged.png"] = pngs(99)["text"][:400]
    files[f"train/{NAME} class/a.png"] = pngs(98)["text"]
    files[f"train/masks/{NAME}.png"] = pngs(97)["text"]
    files[f"{NAME}.txt"] = NAME
    return write(root / f"{NAME} folder", files)


def table_release(root: Path) -> Path:
    head = f"file,patient,study,view,sex,age,Edema,found,why,report,fold,{NAME}"
    rows = []
    for number in range(12):
        person = f"{NAME} {number // 2}"
        view = ("Chest PA", f"AP, Mrs {NAME}", NAME, f"{NAME} lateral", "LL", "AP AXIAL")[number % 6]
        found = f"Effusion|{NAME} {number}" if number % 3 else "Effusion"
        rows.append(
            f"{NAME}/{number}.png,{person},{person}/1,{view},{NAME},{NAME} 40,{number % 2},{found},{NAME},{NAME},"
            f"{'test' if number >= 8 else 'train'},{NAME}"
        )
    rows.append(f"{NAME}/0.png,{NAME} other,{NAME},PA,F,99,1,Effusion,,,train,")  # the same image otherwise
    rows.append(f"{NAME}/1.png,{NAME} 0,,,,,{NAME},,,,train,")  # no label
    rows.append(f"{NAME}/2.png,{NAME} 0,,,,,1,,,,{NAME},")  # no split
    rows.append(f"{NAME}/missing.png,{NAME} 9,,,,,1,,,,train,")
    rows.append(f"../{NAME}.png,{NAME} 9,,,,,1,,,,train,")
    files: dict[str, bytes | str] = {f"{NAME}/{n}.png": pngs(n)["text"] for n in range(12)}
    files |= {f"{NAME}/unlisted.png": pngs(50)["text"], f"{NAME}.csv": "\n".join([head, *rows]) + "\n"}
    return write(root / "table", files)


def dicom_release(root: Path) -> Path:
    files: dict[str, bytes | str] = {"DICOMDIR": NAME, f"{NAME}.txt": NAME, f"{NAME}/none.dcm": NAME}
    for number in range(8):
        tags = {
            "PatientID": f"{NAME} {number // 2}",
            "ViewPosition": (NAME.upper(), "PA", f"LL {NAME[:9]}")[number % 3],
        }
        uids = {"StudyInstanceUID": f"1.2.{number}", "PatientAge": "095Y" if number == 2 else "040Y"}
        files[f"{NAME}^{number // 2}/IM{number}"] = planted_dicom(
            number, **tags, **uids, AccessionNumber=f"{NAME}{number}"
        )
    files[f"{NAME}/CT"] = planted_dicom(20, Modality=NAME.upper())
    files[f"{NAME}/BAD"] = planted_dicom(21)[:-300]
    files[f"{NAME}/ODD"] = planted_dicom(22, PhotometricInterpretation=NAME.upper())
    lines = [f"AccessionNumber,Edema,Note {NAME}", *(f"{NAME}{number},1,{NAME}" for number in (0, 1, 2, 3, 4, 77))]
    lines += [f"{NAME}5,{NAME},"]
    return write(root / f"{NAME} dicom", files | {f"{NAME}.csv": "\n".join(lines) + "\n"})


def nih_release(root: Path) -> Path:
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,Extra"
    rows = [f"{NAME}_{n:03d}.png,No Finding,0,{NAME} {n},57,{NAME},{NAME} PA,{NAME}" for n in range(6)]
    rows += [f"{NAME}_bad.png,{NAME},0,{NAME},57,M,PA,", f"{NAME}_absent.png,No Finding,0,{NAME},57,M,PA,"]
    names = [row.split(",")[0] for row in rows]
    files: dict[str, bytes | str] = {
        f"Data_Entry_2017_{NAME}.csv": "\n".join([head, *rows]) + "\n",
        "train_val_list.txt": "\n".join(names[:4]),
        "test_list.txt": "\n".join(names[4:]),
    }
    files |= {f"images {NAME}/{name}": pngs(n)["text"] for n, name in enumerate([*names[:7], f"{NAME}_unlisted.png"])}
    return write(root / f"{NAME} nih", files)


def chexpert_release(root: Path) -> Path:
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS]
    files: dict[str, bytes | str] = {}
    rows = []
    for number, values in enumerate([["1.0"] * 14] * 5 + [[NAME, *["1.0"] * 13]]):
        name = f"train/patient{NAME}{number}/study1/view1_frontal.jpg"
        files[name] = jpegs(number)["comment-before-the-end"]
        rows.append([f"{NAME}/{name}", NAME, "60", f"Frontal {NAME}", f"AP {NAME}" if number % 2 else NAME, *values])
    rows.append([f"{NAME}/{NAME}", "Male", "60", "Frontal", "AP", *["1.0"] * 14])
    files["train.csv"] = "\n".join(",".join(row) for row in [head, *rows]) + "\n"
    return write(root / f"{NAME} chexpert", files)


def mimic_release(root: Path) -> Path:
    """Patients are numbers there; what follows ``dicom_id`` and the words of the lists can be anything."""
    files: dict[str, bytes | str] = {}
    splits = ["dicom_id,study_id,subject_id,split"]
    metadata, labels = ["dicom_id,ViewPosition,Extra"], [",".join(["subject_id", "study_id", *MIMIC_LABELS])]
    for number in range(5):
        subject, study, image = f"1000000{number}", f"5000000{number}", f"{NAME}-{number}"
        splits.append(f"{image},{study},{subject},{'test' if number == 4 else 'train'}")
        metadata.append(f"{image},AP {NAME},{NAME}")
        labels.append(",".join([subject, study, NAME if number == 3 else "1.0", *[""] * 13]))
        folder = f"files/p10/p{subject}"
        files[f"{folder}/s{study}/{image}.jpg"] = jpegs(number)["comment"]
        files[f"{folder}/s{study}.txt"] = f"INDICATION:  Mrs {NAME} with cough\n\nFINDINGS:\n\n{NAME}.\n"
    splits += [
        f"{NAME}-9,50000009,19000000,train",
        f"{NAME}-8,{NAME},10000001,train",
        f"{NAME}-7,50000001,10000001,{NAME}",
    ]
    for kind, lines in (("split", splits), ("metadata", metadata), ("chexpert", labels)):
        files[f"mimic-cxr-2.0.0-{kind}.csv.gz"] = gzip.compress("\n".join(lines).encode())
    return write(root / f"{NAME} mimic", files)


def films_release(stem: str, reading: str) -> Callable[[Path], Path]:
    """Shenzhen's and Montgomery's sets."""

    def release(root: Path) -> Path:
        files: dict[str, bytes | str] = {f"CXR_png/{NAME}.png": pngs(0)["text"]}
        for number in range(20):
            name = f"{stem}_{number:04d}_{number % 2}"
            files |= {f"CXR_png/{name}.png": pngs(number)["text"], f"ClinicalReadings/{name}.txt": reading}
        return write(root / f"{NAME} {stem}", files)

    return release


def holds_name(data: bytes) -> bool:
    """Whether the name is there in any case, or in UTF-16."""
    plain = data.replace(b"\0", b"").lower()
    return NAME.lower().encode() in plain


def everything_in(folder: Path) -> dict[str, bytes]:
    """Every file, and what is compressed in it: tables and their metadata, members of tars, images' pixels aside."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        found[f"{path.relative_to(folder)}, its name"] = path.name.encode()
        if path.is_dir():
            continue
        found[str(path.relative_to(folder))] = data = path.read_bytes()
        with contextlib.suppress(ValueError, OSError):  # no table
            table = pq.read_table(path)
            found[f"rows of {path.name}"] = repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
        if path.suffix == ".tar":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    assert file is not None
                    image = file.read()
                    kind = jpeg if image.startswith(b"\xff\xd8") else png
                    assert kind.plain_size(image), f"{member.name} holds more than pixels"
                    assert kind.ends_alone(image), f"{member.name} holds more than pixels"
                    found[f"{member.name} of {path.name}"] = image + repr(member.get_info()).encode()
    return found
