"""What the machine has is told, and what is missing with the command that mends it."""

import importlib.metadata
import sys

import pytest

from moco_cxr.commands import doctor
from shards.base.errors import InputError


def found(**patched: object) -> dict[str, list[doctor.Finding]]:
    kinds: dict[str, list[doctor.Finding]] = {"ok": [], "note": [], "missing": []}
    for finding in doctor.look():
        kinds[finding.state].append(finding)
    return kinds


def test_here_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["moco-cxr"])
    assert doctor.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "note") for line in lines)
    for what in (
        "warp kernel",
        "DALI",
        "DICOM RLE",
        "memory",
        "shared memory",
        f"torch {importlib.metadata.version('torch')}",
    ):
        assert any(what in line for line in lines), what


def test_a_package_that_is_missing_or_old_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = ["kornia>=99", "no-such-package>=2", "onnx>=99; extra == 'onnx'", "s3fs>=2000; extra == 's3'"]
    monkeypatch.setattr(doctor, "requires", lambda _: needs)
    monkeypatch.setattr(sys, "argv", ["moco-cxr"])
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert f"kornia: {importlib.metadata.version('kornia')}; pip install 'kornia>=99'" in out
    assert "no-such-package: not installed; pip install 'no-such-package>=2'" in out
    assert "pip install 'moco-cxr[onnx]'" in out
    assert "pip install 'moco-cxr[s3]'" not in out


def test_a_decoder_and_a_kernel_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyjpegls", "simplejpeg"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("pipeline.engines.warps._make_views", None)
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import RLELossless

    monkeypatch.setattr(get_decoder(RLELossless), "_available", {})
    kinds = found()
    told = {finding.what: finding.told for finding in kinds["missing"]}
    assert told.keys() == {"JPEG", "DICOM RLE"}
    assert told["DICOM RLE"] == "no decoder of RLE Lossless; pip install pylibjpeg-rle"
    [kernel] = [finding.told for finding in kinds["note"] if finding.what == "warp kernel"]
    assert kernel.startswith("not compiled: OpenCV warps the views")


def test_it_takes_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["moco-cxr", "--fix"])
    with pytest.raises(InputError, match="--fix: doctor takes no arguments"):
        doctor.main()
