"""Tables show counts, AUROCs, paired differences, and plainly whether a difference is sure."""

import dataclasses

import pytest

from eval.report import markdown_tables, text_tables, verdict
from eval.results import ProbeResult
from eval.stats import Interval


def test_text_table(result: ProbeResult) -> None:
    title, header, rule, small, full, _, *note = text_tables([result]).splitlines()
    assert title == (
        "made, Finding: AUROC of the linear probe on 200 valid studies (50 positive) of 180 patients; "
        "resnet18 of runs/a"
    )
    assert header.split("  ")[0] == "labels"
    assert set(rule) == {"-"}
    assert small.split("  ")[0] == "1 %"
    for cell in ("~10 (~2)*", ".700 [.650, .750]", ".800 [.760, .840]", "+.100 [+.070, +.130]", "better"):
        assert cell in small
    for cell in ("100 %", "1,000 (250)", ".890 [.870, .910]", "-.010 [-.030, +.010]", "unclear"):
        assert cell in full
    assert "up to 2 draws" in note[0]
    assert "997 resamples" in note[0]
    assert "extended" in note[-1]


def test_columns_of_the_text_table_are_aligned(result: ProbeResult) -> None:
    _, header, _, small, full, *_ = text_tables([result]).splitlines()
    for title, cells in {"images": ("~10", "1,000"), "difference": ("+.100", "-.010")}.items():
        assert header.index(title) == small.index(cells[0]) == full.index(cells[1])


def test_markdown_table_has_equal_columns(result: ProbeResult) -> None:
    lines = [line for line in markdown_tables([result, result]).splitlines() if line.startswith("|")]
    assert len(lines) == 8
    assert {line.count("|") for line in lines} == {7}
    assert lines[1].replace(" ", "") == "|---" * 6 + "|"


def test_several_results_share_one_note(result: ProbeResult) -> None:
    text = text_tables([result, dataclasses.replace(result, label="Other")])
    assert text.count("AUROC of the linear probe") == 2
    assert text.count("better, worse:") == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.01, 0.2, "better"), (-0.2, -0.01, "worse"), (-0.1, 0.2, "unclear"), (0, 0, "unclear")],
)
def test_verdict(low: float, high: float, expected: str) -> None:
    assert verdict(Interval(estimate=(low + high) / 2, low=low, high=high)) == expected


def test_limits_print_in_full(result: ProbeResult) -> None:
    perfect = Interval(estimate=1.0, low=0.99999, high=1.0)
    fraction = dataclasses.replace(result.fractions[0], auroc={"random start": perfect, "pretrained": perfect})
    assert "1.000 [1.000, 1.000]" in text_tables([dataclasses.replace(result, fractions=[fraction])])
