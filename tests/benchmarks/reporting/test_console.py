import itertools

import pytest

from benchmarks.measuring.resources import Resources
from benchmarks.measuring.result import Comparison, Timing
from benchmarks.reporting.console import text_table

LONG = "a reference whose name is as long as a sentence, with all of its settings, and then some more of them"
LIMIT, OTHER = "limit: decoding alone", "limit: reading bytes"
USED = Resources(
    wait_share=0.25, consumer=1000.0, peak_megabytes=12345.0, pass_megabytes=(1.0,), first_batch_seconds=1.5
)


def _timing(seconds, *, turns=3, cpu_seconds=None):
    low, high = 0.9 * seconds, 1.1 * seconds
    return Timing(
        median=seconds, low_quartile=low, high_quartile=high, speed=2 / seconds, turns=turns, cpu_seconds=cpu_seconds
    )


def _comparison(*, scale=1.0, turns=3, cpu=None, **more):
    seconds = {LONG: 2.0, "ours": 0.5, LIMIT: 0.25, OTHER: 0.002}
    timings = {name: _timing(scale * one, turns=turns, cpu_seconds=cpu) for name, one in seconds.items()}
    given = {"title": "views", "work": "images", "rate": 2000.0, "unit": "images"}
    return Comparison(timings=timings, **given | more)


def _cells(table, name):
    """What stands on the line of a variant, or below the end of its name where that has lines of its own."""
    lines = table.splitlines()
    found = next(number for number, line in enumerate(lines) if line.strip().startswith(name))
    return lines[found].split()[len(name.split()) :] or lines[found + 1].split()


KINDS = {
    "limit": LIMIT,
    "resources": {LONG: USED, "ours": USED},
    "memory": {LONG: 2**33, "ours": 3 * 2**20},
    "flops": 4e15,
}


@pytest.mark.parametrize("number", range(len(KINDS) + 1))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 111_111.0])
def test_every_kind_of_comparison_fits_80_columns_and_nothing_runs_together(number, scale):
    for names, turns, cpu, unit in itertools.product(
        itertools.combinations(KINDS, number), (1, 3), (None, 3.0), ("images", "queries that are answered")
    ):
        comparison = _comparison(
            scale=scale,
            turns=turns,
            cpu=cpu,
            unit=unit,
            title="a long title, " * 9,
            work="long work, " * 12,
            remarks=("a long remark " * 20,),
            **{name: KINDS[name] for name in names},
        )
        table = text_table(comparison)
        assert max(map(len, table.splitlines())) <= 80
        assert LONG in " ".join(table.split()), "names are never cut off"
        figures = [cell for line in table.splitlines() if line.startswith("  ours ") for cell in line.split()[1:]]
        assert all(cell.replace("e+", "").count("-") - cell.count("e-") <= 1 for cell in figures)
        assert all(cell.count(".") <= 2 for cell in figures)


def test_figures_have_three_digits():
    cells = _cells(text_table(_comparison(scale=111.1)), "ours")
    assert cells == ["55,550", "49,995-61,105", "36.0", "0.0360"]


def test_a_speed_is_said_to_be_paired_where_turns_can_differ():
    told = "times as fast: median of each turn's ratio, not the ratio of the medians"
    assert told in text_table(_comparison())
    assert told not in text_table(_comparison(turns=1))


def test_parts_of_a_step_are_shares_of_it_and_not_fast():
    timings = {"whole step": _timing(2.0), "hot path (trainer)": _timing(0.16)}
    share = Comparison(title="share of a step, resnet18", work="a call", rate=8.0, unit="images", timings=timings)
    table = text_table(share)
    assert _cells(table, "hot path (trainer)") == ["160", "144-176", "8.0%"]
    assert _cells(table, "whole step")[-1] == "100.0%"
    assert "as fast" not in table
    assert "images/s" not in table


def test_another_limit_is_no_share_of_the_limit():
    table = text_table(_comparison(limit=LIMIT))
    assert _cells(table, "ours")[-1] == "50%"
    assert _cells(table, LIMIT)[-1] == "100%"
    assert "%" not in "".join(_cells(table, OTHER))


def test_one_turn_has_no_quartiles():
    assert "quartiles" in text_table(_comparison(turns=3))
    assert "quartiles" not in text_table(_comparison(turns=1))
    assert "-" not in "".join(_cells(text_table(_comparison(turns=1)), "ours"))


def test_resources_are_a_table_of_their_own_below_rates_and_processor_time():
    table = text_table(_comparison(limit=LIMIT, cpu=3.0, resources={"ours": USED}))
    assert _cells(table, "ours") == ["4,000", "3,636-4,444", "4.00", "50%", "1.50"]
    below = table[table.index("in a process of its own") :]
    assert [part.strip() for part in below.splitlines()[0].split("  ") if part] == [
        "in a process of its own",
        "waits",
        "memory, MB",
        "first batch, ms",
    ]
    assert _cells(below, "ours") == ["25%", "12,345", "1,500"]
    assert LIMIT not in below


def test_operations_and_peak_memory_are_columns_where_they_are_known():
    assert "GFLOP/s" not in text_table(_comparison())
    table = text_table(_comparison(flops=4e9, memory={"ours": 3 * 2**20}))
    assert _cells(table, "ours")[-2:] == ["8.00", "3.00"]
    assert _cells(table, LIMIT)[-1] == "16.0", "no memory was measured of it"
