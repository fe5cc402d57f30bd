import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.__main__ import main
from pipeline.loader import build_loader
from pipeline.philox import uniforms
from pipeline.preview import describe_view, view_sheet
from pipeline.views import PRESETS, ViewSpec, affines, sigmas, tones
from shards.base.errors import InputError, run_command
from shards.base.randomness import generator
from shards.index import ShardIndex

SPEC = replace(PRESETS["moco_v2"], size=176, rotation=8.0, mean=0.4, std=0.3)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs ``python -m pipeline ARGUMENTS`` in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["pipeline", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run_command(main)
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return call


@pytest.fixture
def written(monkeypatch):
    """The texts that are drawn."""
    texts = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, place, text, *more: texts.append(text) or draw(pen, place, text, *more),
    )
    return texts


def test_the_tiles_are_the_views_that_a_loader_gives(tiny_dataset):
    index = ShardIndex.open(tiny_dataset).where(split="test")
    sheet = np.asarray(view_sheet(index, SPEC, title="", images=2, num_views=2, seed=3, epoch=0)).astype(float)
    rows = index.take(generator("preview", 3).permutation(len(index))[:2]).rows
    with build_loader(index, SPEC, batch_size=len(index), engine="kornia", seed=3) as loader:
        batch = next(iter(loader))
    place = batch.rows.tolist().index(rows[0])
    for view in range(2):
        left = 6 + (view + 1) * (176 + 6)
        tile = sheet[42 : 42 + 176, left : left + 176]
        grey = 255 * (batch.views[view][place, 0].numpy() * SPEC.std + SPEC.mean)
        np.testing.assert_allclose(tile, np.clip(grey, 0, 255), atol=0.51)


def test_what_was_drawn_is_told():
    rows, sizes = np.arange(50), np.tile([[390, 320]], (50, 1))
    address = {"epoch": 4, "seed": 2, "view": 1}
    matrices, factors = affines(SPEC, rows, sizes, **address), tones(SPEC, rows, **address)
    blurs = sigmas(SPEC, rows, **address)
    draws = uniforms(rows, **address, num_draws=13)
    for i in rows:
        lines = describe_view(matrices[i], factors[i], blurs[i], SPEC, side=320)
        crop, turned, tone, blur = lines
        assert ("not flipped" in crop) == (draws[i, 1] >= 0.5)
        assert turned == f"turned {8 * (2 * draws[i, 0] - 1):+.1f}°"
        applies = draws[i, 10] < 0.8
        factor = 1 + 0.4 * (2 * draws[i, 8:10] - 1) * applies
        assert tone == f"brightness {factor[0]:.2f}, contrast {factor[1]:.2f}"
        assert blur == (f"blur {0.1 + 1.9 * draws[i, 12]:.2f} px" if draws[i, 11] < 0.5 else "no blur")
    plain = affines(ViewSpec(size=64, area=(0.25, 0.25)), rows[:1], sizes[:1], **address)[0]
    assert describe_view(plain, factors[0], 0.0, ViewSpec(size=64), side=320) == ["crop 25 %"]
    bent = describe_view(plain, np.array([0.02, -2.0, 1.254]), 0.0, ViewSpec(size=64, gamma=(0.5, 2)), side=320)
    assert bent == ["crop 25 %", "gamma 1.25"]


def test_the_page(tiny_dataset, written):
    index = ShardIndex.open(tiny_dataset)
    small = replace(PRESETS["moco_cxr"], size=32)
    pages = [view_sheet(index, small, title="mine", images=images, num_views=3, seed=0, epoch=0) for images in (1, 2)]
    assert written[:2] == [
        "mine: 32 px, seed 0, epoch 0, 1 of 96 images",
        "views as the model sees them, normalisation undone, clipped to 0..255; + turns clockwise",
    ]
    assert "72x64 px" in written
    assert pages[0].width == pages[1].width == 4 * (192 + 6) + 6, "32 px are shown six times as large"
    assert pages[1].height - pages[0].height > 192
    tile = np.asarray(pages[0])[42 : 42 + 192, 204 : 204 + 192]
    np.testing.assert_array_equal(tile, tile[::6, ::6].repeat(6, axis=0).repeat(6, axis=1))


def test_clipping_is_told(tiny_dataset, written):
    index = ShardIndex.open(tiny_dataset)
    dark = ViewSpec(size=64, contrast=0.9, mean=0.9, std=0.2)
    view_sheet(index, dark, title="", images=4, num_views=2, seed=0, epoch=0)
    assert any(text.endswith(" % clipped here") for text in written)


def test_the_command(run, tiny_dataset, tmp_path):
    output = tmp_path / "new" / "sheet.png"
    status, out, _ = run(
        "preview", "--data", tiny_dataset, "--output", output, "--views", "moco_v2", "--size", 64, "--images", 2,
        "--views.fill", "edge", "--views.area", 0.5, 0.6, "--num-views", 1, "--split", "test", "--seed", 5,
    )  # fmt: skip
    assert status == 0
    with Image.open(output) as sheet:
        assert out == f"written: {output} ({sheet.width}x{sheet.height} px)\n"
        got = sheet.copy()
    spec = replace(PRESETS["moco_v2"], size=64, fill="edge", area=(0.5, 0.6))
    index = ShardIndex.open(tiny_dataset).where(split="test")
    title = "moco_v2 with area (0.5, 0.6), fill edge"
    expected = view_sheet(index, spec, title=title, images=2, num_views=1, seed=5, epoch=0)
    assert got.tobytes() == expected.tobytes()


def test_help_names_presets_defaults_and_exit_codes(run):
    status, out, _ = run("preview", "--help", "--views", "crop_contrast")
    assert status == 0
    text = " ".join(out.replace("│", " ").split())
    assert "{moco_cxr,crop_contrast,moco_v2,evaluation}" in text
    assert "(default: 0.5 1.0)" in text, "the area of the preset that was named"
    assert "Exit codes: 0 written; 2 a mistake" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "mocov2"], "--views mocov2: no such preset; did you mean moco_v2"),
        (["--views=none"], "--views none: no such preset"),
        (["--views"], "--views : no such preset"),
        (["--split", "valid"], "--split valid: selects no image of .*; its splits are test, train"),
        (["--size", 4], "--size 4: out of range; give 8 to 8192, in pixels"),
        (["--size", 3000, "--images", 90], "--images 90, --num-views 5 and --size 3000: make a page of"),
        (["--images", 0], "--images 0: out of range; give 1 to 100"),
        (["--num-views", 21], "--num-views 21: out of range"),
        (["--seed", -1], "--seed -1: out of range"),
        (["--epoch", -1], "--epoch -1: out of range"),
        (["--output", "sheet.jpg"], "--output sheet.jpg: must end in .png"),
        (["--output", "/dev/null/sheet.png"], "--output /dev/null/sheet.png: /dev/null cannot be written"),
    ],
)
def test_mistakes_are_one_line(run, tiny_dataset, options, message):
    images = [] if "--images" in options else ["--images", 1]
    status, out, err = run("preview", "--data", tiny_dataset, *images, *options)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_data_is_asked_for(run, tmp_path):
    status, _, err = run("preview")
    assert status == 2
    assert "--data: not given" in err
    status, _, err = run("preview", "--data", tmp_path / "none")
    assert status == 2
    assert err.startswith("error: dataset ")


def test_a_damaged_image_is_named(run, tiny_dataset, tmp_path):
    folder = shutil.copytree(tiny_dataset, tmp_path / "data")
    for tar in folder.glob("*.tar"):
        data = bytearray(tar.read_bytes())
        for row in ShardIndex.open(folder).table.to_pylist():
            if row["shard"] == tar.name:
                data[row["offset"] + 40] ^= 1
        tar.write_bytes(data)
    status, _, err = run("preview", "--data", folder, "--output", tmp_path / "x.png")
    assert status == 2
    assert "has another checksum than when it was packed" in err
    assert f"moco-cxr shards verify {folder}" in err


def test_a_dataset_given_twice_is_told(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    output = str(tmp_path / "a.png")
    twice = [str(tiny_dataset), f"{tiny_dataset}/../{tiny_dataset.name}"]
    monkeypatch.setattr("sys.argv", ["pipeline", "preview", "--output", output, "--data", *twice])
    with pytest.raises(InputError, match="^--data: 96 images are in two of the datasets"):
        main()


def test_views_out_of_range_are_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["pipeline", "preview", "--data", "a", "--views.ratio", "3", "1"])
    with pytest.raises(InputError, match=r"^views\.ratio \(3\.0, 1\.0\): out of range; give low and high"):
        main()
    assert capsys.readouterr().err == ""


def test_views_that_enlarge_all_images_are_told(tiny_dataset: Path) -> None:
    index = ShardIndex.open(tiny_dataset)
    with pytest.warns(UserWarning, match="views of 320 px enlarge all of them"):
        view_sheet(index, PRESETS["moco_cxr"], title="", images=1, num_views=1, seed=0, epoch=0)
