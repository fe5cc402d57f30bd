"""Tables of the page carry their numbers for sorting, say why a subgroup is not given, and escape names."""

import dataclasses

from eval.report.page import templates
from eval.report.sortable import SortableTable, counts_table, results_table, subgroup_table
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
