import ctypes
import shutil
import struct
import subprocess

import pytest

from benchmarks.gpu.offline.thin import empty_sections, replace_by_stub, symbols, thin_libraries

pytestmark = pytest.mark.skipif(not (shutil.which("cc") and shutil.which("readelf")), reason="needs cc and binutils")
PTX, CODE = 1, 2


def library(folder, name, source, *options):
    path = folder / f"{name}.so"
    command = ["cc", "-shared", "-fPIC", "-o", path, "-x", "c", "-", "-x", "none", *options]
    subprocess.run(command, input=source, text=True, check=True)
    return path


def fatbin(*entries):
    """A fat binary of (kind, architecture, payload)."""
    made = b"".join(
        struct.pack("<HHIQ", kind, 0, 64, len(payload)).ljust(28, b"\0")
        + struct.pack("<I", sm).ljust(36, b"\0")
        + payload
        for kind, sm, payload in entries
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(made)) + made


def with_device_code(folder, data):
    values = ",".join(map(str, data))
    source = f'__attribute__((section(".nv_fatbin"), used)) const unsigned char code[] = {{{values}}};\n'
    return library(folder, "device", source + "int two(void) { return 2; }\n")


def test_device_code_of_other_gpus_becomes_zeros_and_all_else_stays(tmp_path):
    first = fatbin((CODE, 80, b"A" * 32), (CODE, 90, b"B" * 32), (PTX, 90, b"C" * 32))
    second = fatbin((CODE, 80, b"D" * 32), (PTX, 80, b"E" * 32))  # has none for this GPU: stays as it is
    path = with_device_code(tmp_path, first + second)
    before = path.read_bytes()
    assert b".symtab" in before
    empty_sections(path, 90)
    after = path.read_bytes()
    assert len(after) == len(before)
    assert b"A" * 32 not in after
    assert b"C" * 32 not in after
    assert all(letter * 32 in after for letter in (b"B", b"D", b"E"))
    kept = first.replace(b"A" * 32, bytes(32)).replace(b"C" * 32, bytes(32)) + second
    assert kept in after
    assert ctypes.CDLL(str(path)).two() == 2
    listed = subprocess.run(["readelf", "--syms", "-W", path], capture_output=True, text=True).stdout
    assert "two" in listed.partition("'.symtab'")[0]
    assert "two" not in listed.partition("'.symtab'")[2]


def test_device_code_of_another_form_is_refused(tmp_path):
    path = with_device_code(tmp_path, fatbin((7, 90, b"A" * 32)))
    with pytest.raises(ValueError, match="device code of a kind that is not known"):
        empty_sections(path, 90)


def test_a_stub_offers_what_others_ask_for_and_nothing_else(tmp_path):
    video = library(
        tmp_path,
        "libvideo",
        "int open_video(void) { return 5; }\nint close_video(void) { return 6; }\nlong frames = 7;\n",
        "-Wl,-soname,libvideo.so",
    )
    source = "int open_video(void);\nextern long frames;\nint all(void) { return open_video() + (int)frames; }\n"
    user = library(tmp_path, "user", source, video, f"-Wl,-rpath,{tmp_path}")
    asked = {symbol.name for symbol in symbols(user) if symbol.is_missing}
    replace_by_stub(video, asked)
    offered = {symbol.name for symbol in symbols(video) if not symbol.is_missing}
    assert {"open_video", "frames"} <= offered
    assert "close_video" not in offered
    assert ctypes.CDLL(str(user), mode=0x2).all() == 0  # RTLD_NOW: every symbol is found


def test_libraries_of_dali_are_told_apart_by_name(tmp_path):
    folder = tmp_path / "nvidia" / "dali" / ".libs"
    folder.mkdir(parents=True)
    for name in ("libavcodec-1", "libs2n-1", "libzstd-1"):
        library(folder, name, "int one(void) { return 1; }\n")
    library(tmp_path / "nvidia" / "dali", "operators", "int one(void);\nint all(void) { return one(); }\n")
    thin_libraries(tmp_path, 90)
    assert {path.name for path in folder.glob("*.so")} == {"libavcodec-1.so", "libzstd-1.so"}
    assert ctypes.CDLL(str(folder / "libavcodec-1.so")).one() == 0
    assert ctypes.CDLL(str(folder / "libzstd-1.so")).one() == 1
