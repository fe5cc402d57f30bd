"""Figures are the same for the same results, and on the page they take its colours and have ids of their own."""

import re

import numpy as np

from eval.report.figures import (
    calibration_figure,
    difference_figure,
    fraction_figure,
    map_figure,
    roc_figure,
    start_inks,
    themed,
)
from eval.results.roc import Roc
from eval.results.table import Comparison


def _all(comparison: Comparison) -> list[str]:
    inks, line = start_inks(comparison), np.linspace(0, 1, 5)
    labels = np.array([0.0, 1.0, np.nan])
    return [
        fraction_figure(comparison, "linear", "Finding"),
        difference_figure(comparison, "linear", "Finding"),
        roc_figure({start: Roc(line, line) for start in inks}, inks, title="ROC"),
        calibration_figure(comparison.rows[:2], inks, title="Calibration"),
        map_figure(np.arange(6.0).reshape(3, 2), labels, title="pretrained", label="Finding"),
    ]


def test_the_same_results_give_the_same_bytes(comparison: Comparison) -> None:
    assert _all(comparison) == _all(comparison)


def test_text_stays_text(comparison: Comparison) -> None:
    figure = fraction_figure(comparison, "linear", "Finding")
    for word in ("random", "pretrained", "1 %", "100 %", "Linear probe"):
        assert f">{word}</text>" in figure


def test_on_the_page_all_colours_are_variables_and_ids_unique(comparison: Comparison) -> None:
    inline = [themed(svg, f"figure-{number}", description='a "b" <c>') for number, svg in enumerate(_all(comparison))]
    for svg in inline:
        assert not re.findall(r"#[0-9a-f]{6}\b", svg)
        assert 'aria-label="a &quot;b&quot; &lt;c>"' in svg
        assert "<metadata>" not in svg
    ids = re.findall(r'\bid="([^"]+)"', "".join(inline))
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', "".join(inline))
    assert used
    assert {one or other for one, other in used} <= set(ids)


def test_sure_differences_are_filled(comparison: Comparison) -> None:
    color = start_inks(comparison)["pretrained"].color
    figure = difference_figure(comparison, "linear", "Finding")
    assert f"fill: {color}" in figure  # p_holm of the fixture is .02
