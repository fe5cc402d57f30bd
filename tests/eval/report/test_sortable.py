"""Tables of the page carry their numbers for sorting, say why a subgroup is not given, and escape names."""

import dataclasses
import re

from eval.report.page import templates
from eval.report.sortable import SortableTable, counts_table, gap_table, results_table, subgroup_table
from eval.results.headline import headline
from eval.results.table import Comparison


def rendered(table: SortableTable | None) -> str:
    assert table is not None
    return templates().get_template("parts.html.jinja").module.table(table)


def test_results_carry_numbers_and_verdicts(comparison: Comparison) -> None:
    table = rendered(results_table(comparison))
    assert table.count("<tr>") == 1 + len(comparison.rows)
    assert '<td data-value="0.01">1 %</td>' in table
    assert '<td data-value="0.8" class="number">.800 <span class="limits">[.760, .840]</span></td>' in table
    assert 'class="verdict better"' in table
    assert 'class="verdict worse"' in table  # the fixture's difference of -.01 has p .02
    assert "10*" in table  # the mean of 8 and 12 images, one of them extended


def test_a_small_subgroup_says_why_it_is_not_given(comparison: Comparison) -> None:
    table = rendered(subgroup_table(comparison, headline(comparison), "Finding", name="groups"))
    assert "3 positive studies, under 10" in table
    assert ".880" in table
    assert "+.010" in table
    without = dataclasses.replace(comparison, subgroups=[])
    assert subgroup_table(without, headline(comparison), "Finding", name="a") is None


def test_rates_and_gaps_are_those_of_the_headline(comparison: Comparison) -> None:
    groups = rendered(subgroup_table(comparison, headline(comparison), "Finding", name="groups"))
    assert '<span class="limits">[.080, .160]</span>' in groups
    gaps = rendered(gap_table(comparison, headline(comparison), "Finding", name="gaps"))
    assert "<td>M</td><td>F</td>" in gaps
    assert '.250 <span class="limits">[-.050, .550]</span>' in gaps
    other = dataclasses.replace(comparison, gaps=[dataclasses.replace(comparison.gaps[0], start="random")])
    assert gap_table(other, headline(comparison), "Finding", name="gaps") is None


def test_columns_that_tell_nothing_are_marked(comparison: Comparison) -> None:
    """One readout and one label: on a narrow screen their room is for figures."""
    table = rendered(results_table(comparison))
    heads = re.findall(r'<th scope="col"( class="same")?><button type="button">([^<]+)', table)
    assert [name for mark, name in heads if mark] == ["readout", "label"]
    assert table.count('<td class="same">Finding</td>') == len(comparison.rows)


def test_names_are_escaped(comparison: Comparison) -> None:
    label = "<b>&"
    named = dataclasses.replace(
        comparison,
        labels=[label],
        test={label: comparison.test["Finding"]},
        rows=[dataclasses.replace(row, label=label) for row in comparison.rows],
    )
    for table in map(rendered, (results_table(named), counts_table(named))):
        assert label not in table
        assert "&lt;b&gt;&amp;" in table
