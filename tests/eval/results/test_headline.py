"""The answer says yes only where a difference is sure, and gives the figures of a row that bears it out."""

import dataclasses

import pytest

from eval.results.headline import headline
from eval.results.table import Comparison, Difference
from eval.stats.interval import Interval


def _with_differences(comparison: Comparison, found: dict[float, tuple[float, float]]) -> Comparison:
    """The comparison with, by fraction, another difference and p value."""
    rows = []
    for row in comparison.rows:
        if row.difference is not None:
            value, p_value = found[row.fraction]
            interval = Interval(estimate=value, low=value - 0.03, high=value + 0.03)
            difference = Difference(against="random", auroc=interval, p_value=p_value, p_holm=p_value)
            row = dataclasses.replace(row, difference=difference)
        rows.append(row)
    return dataclasses.replace(comparison, rows=rows)


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        ({0.01: (0.1, 0.001), 1.0: (0.04, 0.01)}, "yes", "better at 1 % and 100 %. With 1 % of the labels"),
        ({0.01: (0.1, 0.4), 1.0: (0.04, 0.01)}, "yes", "better at 100 %; unclear at 1 %. With 100 % of the labels"),
        ({0.01: (-0.1, 0.001), 1.0: (0.04, 0.4)}, "no", "lowers"),
        ({0.01: (-0.1, 0.001), 1.0: (0.04, 0.01)}, "mixed", "better at 100 %; worse at 1 %. With 100 % of the labels"),
        ({0.01: (0.1, 0.2), 1.0: (0.04, 0.3)}, "unclear", "not sure at any number of labels"),
    ],
)
def test_kind_follows_sure_differences(
    comparison: Comparison, found: dict[float, tuple[float, float]], kind: str, said: str
) -> None:
    given = headline(_with_differences(comparison, found))
    assert given.kind == kind
    assert said in given.sentence


def test_figures_are_of_the_row(comparison: Comparison) -> None:
    given = headline(_with_differences(comparison, {0.01: (0.1, 0.001), 1.0: (0.04, 0.4)}))
    assert "0.700 to 0.800, by +0.100 (95 % CI +0.070 to +0.130)" in given.sentence
    assert given.start == "pretrained"
    assert given.others == []


def test_a_run_is_asked_about_before_imagenet_and_the_rest_is_listed(comparison: Comparison) -> None:
    pretrained = comparison.starts["pretrained"]
    starts = {
        "random": comparison.starts["random"],
        "imagenet": dataclasses.replace(pretrained, sources=["imagenet"]),
        "pretrained": pretrained,
    }
    rows = [dataclasses.replace(row, start="imagenet") for row in comparison.rows if row.start == "pretrained"]
    given = headline(dataclasses.replace(comparison, starts=starts, rows=[*rows, *comparison.rows]))
    assert given.start == "pretrained"
    assert len(given.others) == 1
    assert given.others[0].startswith("imagenet, a linear probe: ")


def test_one_start_has_nothing_to_compare(comparison: Comparison) -> None:
    rows = [row for row in comparison.rows if row.start == "random"]
    starts = {"random": comparison.starts["random"]}
    given = headline(dataclasses.replace(comparison, rows=rows, starts=starts))
    assert given.kind == "none"
    assert ".700 [.650, .750]" in given.sentence


def test_speaks_of_a_start_that_the_first_readout_has(comparison: Comparison) -> None:
    """One encoder, and the texts that are read without any: the latter has rows of its own readout alone."""
    alone = comparison.starts["pretrained"]
    rows = [dataclasses.replace(row, difference=None) for row in comparison.select(start="pretrained")]
    texts = [dataclasses.replace(rows[0], readout="multimodal-text", start="no-image")]
    starts = {"pretrained": alone, "no-image": dataclasses.replace(alone, sources=[])}
    one = dataclasses.replace(comparison, rows=rows + texts, starts=starts, baseline="pretrained")
    assert headline(one).start == "pretrained"
    assert headline(one).sentence.startswith("There is one start, pretrained")
    assert headline(dataclasses.replace(one, rows=texts)).start == "no-image"
