import json
import sys

import pytest

from benchmarks import packing
from benchmarks.__main__ import main
from benchmarks.settings import PackingConfig
from shards.base.errors import InputError


@pytest.mark.slow
def test_every_kind_is_packed_beside_its_peers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packing, "FULL_SIZE", (1400, 1200))
    options = ["--large", "2", "--png", "2", "--small", "20", "--memory", "30", "--turns", "1", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "packing", *options, "--output", str(tmp_path / "result.json")])
    main()
    result = json.loads((tmp_path / "result.json").read_text())
    names = [list(comparison["timings"]) for comparison in result["comparisons"]]
    rest = ["decode only, one process", "build, one worker"]
    copies = ["file copy, one process", "file copy, synced to disk"]
    assert names == [*[["Pillow loop, one process", *rest]] * 2, [*copies, *rest]]
    assert all(len(comparison["remarks"]) == 1 for comparison in result["comparisons"])
    assert result["remarks"][0].startswith("peak memory, 30 images: ")
    printed = capsys.readouterr().out
    assert "images/s a core" in printed
    assert "peak memory" in printed


def test_a_folder_without_images(tmp_path):
    with pytest.raises(InputError, match="--nih .*: no images/"):
        list(packing.run(PackingConfig(nih=tmp_path)))
