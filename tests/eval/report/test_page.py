"""The report holds everything it promises, needs no network, and says what it cannot show; a browser finds no fault."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from html import unescape
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from eval.report.page import write_page
from eval.results.file import save_comparison
from eval.results.table import CELLS, Comparison, StartResult
from eval.study.cells import Cell, CellKey, save_cell
from eval.study.features import encoder_hash, extract_features
from pipeline.views import ViewSpec
from shards.base.errors import InputError
from shards.format.boxes import Box
from shards.index import ShardIndex
from train.encoders.build import build_encoder
from train.encoders.saved import save_encoder

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def evaluated(tmp_path: Path, packed: Path, run_folder: Path, comparison: Comparison) -> Path:
    """A folder with results, cells of a linear readout, a dataset and the encoders, as an evaluation leaves it."""
    index = ShardIndex.open(packed)
    test = index.where(split="test")
    spec = ViewSpec(size=32, mean=0.4, std=0.2)
    encoders = {"random-0": build_encoder("resnet18", seed=0), "pretrained": build_encoder("resnet18", seed=7)}
    folder = tmp_path / "compared"
    none = np.zeros(0, dtype=np.int64)
    for name, encoder in encoders.items():
        features = extract_features(encoder, test, spec)
        scores = features @ np.random.default_rng(0).normal(size=features.shape[1]).astype(np.float32)
        for fraction, draw in ((0.01, 0), (0.01, 1), (1.0, 0)):
            cell = Cell(
                key=CellKey(readout="linear", start=name, fraction=fraction, draw=draw),
                fingerprint="made",
                labels=("sick",),
                test_rows=test.rows,
                scores=scores[:, None],
                valid_rows=none,
                valid_scores=np.zeros((0, 1), dtype=np.float32),
                num_patients=8,
                num_images=[8],
                num_positives=[2],
                is_extended=False,
                details={"encoder_hash": encoder_hash(encoder)},
            )
            save_cell(folder / CELLS, cell)
    starts = {
        name: StartResult(
            encoder="resnet18",
            sources=[source],
            hashes=[encoder_hash(encoders[key])],
            num_features=512,
            seeds=[0] if name == "random" else None,
        )
        for name, source, key in (("random", "random", "random-0"), ("pretrained", str(run_folder), "pretrained"))
    }
    told = dataclasses.replace(
        comparison,
        data=[str(packed)],
        datasets=list(index.fingerprints),
        labels=["sick"],
        starts=starts,
        test={"sick": comparison.test["Finding"]},
        rows=[dataclasses.replace(row, label="sick") for row in comparison.rows],
        subgroups=[dataclasses.replace(row, label="sick") for row in comparison.subgroups],
        gaps=[dataclasses.replace(row, label="sick") for row in comparison.gaps],
        num_dropped={"sick": 0},
        views=dict.fromkeys(starts, asdict(spec)),
    )
    save_comparison(told, folder)
    return folder


def test_the_page_is_whole_and_needs_no_network(evaluated: Path) -> None:
    path = write_page(evaluated, device="cpu")
    page = path.read_text()
    assert str(evaluated.parent) not in page, "it is passed on, and says nothing of whose machine made it"
    assert f"{evaluated.parent.name}/" not in page
    assert "resnet18 from run," in page
    assert "Not shown: " not in page
    assert "Pointing game" not in page, "nobody drew boxes"
    assert page.count("looked up</figcaption>") == 4
    assert page.count("cosine ") == 2 * 4 * 7  # in the caption, and in words for those who do not see the image
    num_maps = page.count("Grad-CAM</figcaption>")
    assert num_maps >= 4
    assert page.count("<img ") == 4 * 8 + 2 * num_maps
    written = {file.name for file in (evaluated / "figures").iterdir()}
    assert written == {
        "auroc-linear-sick.svg",
        "difference-linear-sick.svg",
        "roc-linear-0.01-sick.svg",
        "roc-linear-1-sick.svg",
        "calibration-linear-0.01-sick.svg",
        "calibration-linear-1-sick.svg",
        "map-random-sick.svg",
        "map-pretrained-sick.svg",
    }
    elsewhere = [url for url in re.findall(r"https?://[\w.-]+", page) if "www.w3.org" not in url]
    assert not elsewhere  # but the names of the SVG standard, which nobody fetches
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_maps_point_into_boxes_where_the_test_set_has_some(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (Box("sick", 0, 0, 40, 32), Box("other", 1, 1, 2, 2))
    monkeypatch.setattr("eval.report.pointing.drawn_boxes", lambda images: [whole] * len(images))
    page = write_page(evaluated, device="cpu", max_images=40).read_text()
    assert "in a box of sick in 100 % [100, 100; 95 % CI] of the 40 test images" in page
    assert "pointing anywhere in the view would reach 100 %" in page


def test_without_images_there_are_none_and_old_figures_go(evaluated: Path) -> None:
    (evaluated / "figures").mkdir()
    (evaluated / "figures" / "map-old.svg").write_text("<svg/>")
    page = write_page(evaluated, with_images=False).read_text()
    assert "<img" not in page
    assert not list((evaluated / "figures").glob("map-*"))


def test_what_cannot_be_shown_is_said(evaluated: Path, run_folder: Path) -> None:
    other = build_encoder("resnet18", seed=8)
    save_encoder(run_folder / "encoder.safetensors", other, name="resnet18", views=ViewSpec(size=32, mean=0.4, std=0.2))
    page = write_page(evaluated, device="cpu").read_text()
    assert page.count("is not the one that was measured") == 3
    stored = json.loads((evaluated / "results.json").read_text())
    del stored["digest"]
    (evaluated / "results.json").write_text(json.dumps(stored | {"datasets": ["another"]}))
    assert "was packed anew since" in write_page(evaluated, with_images=False).read_text()


def test_names_are_text_and_no_elements(evaluated: Path) -> None:
    """Labels, starts and datasets are named by whoever made them."""
    stored = re.sub(r',\s*"digest": "\w+"', "", (evaluated / "results.json").read_text())
    label, start = '<b>x</b> & "y"', "<i>pre</i>trained"
    for old, new in (("sick", label), ("pretrained", start)):
        stored = stored.replace(f'"{old}"', json.dumps(new))
    (evaluated / "results.json").write_text(stored)
    page = write_page(evaluated, with_images=False).read_text()
    assert not re.findall("<b>|</b>|<i>|</i>", page)
    assert unescape(page).count(label) > 10
    assert "Differences to random</a>" in page


def test_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        write_page(tmp_path)


@contextlib.contextmanager
def _chromium(profile: Path) -> Iterator[int]:
    """A headless browser; yields the port it is told what to do at."""
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    browser = subprocess.Popen(
        [*map(str, command), f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert browser.stderr is not None
        address = next(found for line in browser.stderr if (found := re.search(r"ws://[^:]+:(\d+)/", line)))
        yield int(address[1])
    finally:
        browser.kill()
        browser.communicate()


async def _look(port: int, page: Path, script: str, *, width: int, scheme: str, shot: Path) -> tuple[Any, list[str]]:
    """Opens the page, runs ``script`` in it, takes a screenshot; what the script returns, and the console's faults."""
    faults: list[str] = []
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            (tab, *_) = await answer.json()
        async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            number = 0

            async def call(method: str, **parameters: Any) -> dict[str, Any]:
                nonlocal number
                number += 1
                await socket.send_json({"id": number, "method": method, "params": parameters})
                return await until(lambda told: told.get("id") == number)

            async def until(is_it: Any) -> dict[str, Any]:
                while True:
                    told = await asyncio.wait_for(socket.receive_json(), 60)
                    if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                        faults.append(json.dumps(told["params"]))
                    if is_it(told):
                        return told

            for domain in ("Page", "Runtime", "Log"):
                await call(f"{domain}.enable")
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            await call("Emulation.setEmulatedMedia", features=features)
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            await call("Emulation.setDeviceMetricsOverride", **metrics)
            await call("Page.navigate", url=page.resolve().as_uri())
            await until(lambda told: told.get("method") == "Page.loadEventFired")
            found = await call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
            picture = await call("Page.captureScreenshot", format="png")
            shot.write_bytes(base64.b64decode(picture["result"]["data"]))
            return found["result"]["result"].get("value"), faults


_SCRIPT = """(async () => {
  const pictures = [...document.images];
  await Promise.all(pictures.map((one) => one.decode()));
  const table = document.getElementById("results");
  const column = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent.startsWith("AUROC"));
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
  const press = () => { table.tHead.rows[0].cells[column].querySelector("button").click(); return values(); };
  const sorted = [press(), press()];
  const shown = () => [...document.querySelectorAll("[data-setting]")].filter((part) => !part.hidden)
    .map((part) => part.dataset.setting);
  const setting = document.getElementById("setting");
  const settings = [shown()];
  setting.value = "linear-1";
  setting.dispatchEvent(new Event("change"));
  settings.push(shown());
  const seen = [...table.tHead.rows[0].cells].filter((head) => {
    const { left, right, width } = head.getBoundingClientRect();
    return width && left >= 0 && right <= innerWidth;
  }).map((head) => head.textContent);
  const search = document.getElementById("search");
  search.value = "pretrained 1 %";
  search.dispatchEvent(new Event("input"));
  return {
    pictures: pictures.map((one) => one.naturalWidth), sorted,
    sort: table.tHead.rows[0].cells[column].getAttribute("aria-sort"),
    settings, seen,
    left: [...table.tBodies[0].rows].filter((row) => !row.hidden).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    back: getComputedStyle(document.body).backgroundColor,
  };
})()"""


@pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_finds_no_fault(evaluated: Path, tmp_path: Path) -> None:
    page = write_page(evaluated, device="cpu")
    num_pictures = page.read_text().count("<img ")
    with _chromium(tmp_path / "profile") as port:
        for width, scheme, is_dark in ((1200, "light", False), (390, "dark", True)):
            shot = tmp_path / f"{scheme}.png"
            found, faults = asyncio.run(_look(port, page, _SCRIPT, width=width, scheme=scheme, shot=shot))
            assert faults == []
            assert len(found["pictures"]) == num_pictures
            assert min(found["pictures"]) > 0
            ascending, descending = found["sorted"]
            assert ascending == sorted(ascending)
            assert descending == ascending[::-1]
            assert found["sort"] == "descending"
            assert found["left"] == 1
            assert found["overflow"] <= 0
            assert found["settings"] == [["linear-0.01"], ["linear-1"]], "that of the finding, then the one chosen"
            assert {"start", "AUROC [95 % CI]", "minus random"} <= {*found["seen"]}, f"{width} px: {found['seen']}"
            assert (np.asarray(Image.open(shot).convert("L")).mean() < 100) == is_dark
