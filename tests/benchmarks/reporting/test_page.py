import re
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks.measuring.machine import describe_machine
from benchmarks.measuring.result import Comparison, Timing, write_result
from benchmarks.reporting import plots
from benchmarks.reporting.page import write_report
from benchmarks.reporting.words import describe, find_step, group_comparisons, limits_reached, summary
from shards.base.errors import InputError


def _comparison(title, ratios, *, first=1.0, spread=0.02, **more):
    timings = {
        name: Timing(
            median=first * ratio,
            low_quartile=0.95 * first * ratio,
            high_quartile=1.05 * first * ratio,
            speed=1 / ratio,
            turns=3,
            speed_low_quartile=1 / ratio / (1 + spread),
            speed_high_quartile=1 / ratio / (1 - spread),
        )
        for name, ratio in ratios.items()
    }
    return Comparison(title=title, work="a call", **{"rate": 8.0, "unit": "images", "timings": timings, **more})


def _words(*comparisons, step=None):
    (group,) = group_comparisons(comparisons)
    return " ".join([*describe(group, step), *limits_reached(group)])


def test_the_winner_the_losers_and_the_limit_are_named():
    words = _words(_comparison("momentum update, resnet18", {"loop": 1, "flat": 0.25, "slow": 2, "copy of it": 0.2}))
    assert "Fastest: flat, 4.00x the speed of loop." in words
    assert "Slower than loop: slow (0.50x)." in words
    assert "The fastest runs at 80% of the speed of copy of it." in words
    assert "Too near" not in words


def test_a_trainer_that_is_not_the_fastest_is_said_to_be_so():
    words = _words(_comparison("loss, queue 64, batch 8", {"plain": 1, "split (trainer)": 0.5, "compiled": 0.25}))
    assert "The trainer uses split (trainer): 2.00x the speed of plain." in words
    assert "not the fastest everywhere: 0.50x the speed of compiled at queue 64, batch 8." in words


def test_variants_within_one_anothers_spread_are_too_near_to_call():
    ratios = {"plain": 1, "a (trainer)": 0.51, "b": 0.5}
    words = _words(_comparison("loss, queue 64", ratios))
    assert "Too near to call, as the spreads overlap: b and a (trainer)." in words
    assert "not the fastest" not in words
    assert "Too near" not in _words(_comparison("loss, queue 64", ratios, spread=0.001))


def test_a_grid_is_one_group_with_the_winner_of_each_setting():
    small = _comparison("loss, queue 64, batch 8", {"plain": 1, "split": 1.5})
    large = [_comparison(f"loss, queue {size}, batch 8", {"plain": 1, "split": 0.5}) for size in (128, 256)]
    words = _words(small, *large)
    assert "Fastest: split, 2.00x the speed of plain (at queue 128, batch 8; queue 256, batch 8); " in words
    assert "; plain (at queue 64, batch 8)." in words
    assert "Slower than plain: split (0.67x, in 1 of 3)." in words


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0.001, "does not matter for training"), (1.0, "which matters for training")]
)
def test_a_gain_is_held_against_the_step_at_the_same_batch(seconds, verdict):
    step = _comparison("share of a step, resnet18, 64 px", {"whole step": 1, "hot path": 0.01}, are_rivals=False)
    assert find_step([step]) is step
    loss = _comparison("loss, queue 64, batch 16", {"plain": 1, "split": 0.5}, first=seconds)
    words = _words(loss, step=step)
    assert f"saves {seconds * 0.5 / 2:.2%} of a step" in words, "a step of 16 images takes 2 s"
    assert verdict in words
    noisy = _comparison("loss, queue 64, batch 16", {"plain": 1, "split": 0.9}, spread=0.2)
    assert "of a step" not in _words(noisy, step=step), "nothing is claimed of what is within the spread"


def test_sizes_of_one_thing_have_no_winner():
    one = _comparison("ranks", {"1 rank": 1, "2 ranks": 1.9}, are_rivals=False)
    assert _words(one) == ""
    (group,) = group_comparisons([_comparison("warp", {"ours": 1, "theirs": 3})])
    assert summary(group) == ("warp", "ours", "it is the reference", "theirs 0.33x")


@pytest.fixture
def results(tmp_path):
    grid = [
        _comparison(f"loss, queue {size}", {"plain": 1, "_split | halves (trainer)": 0.5}, memory={"plain": 2**20})
        for size in (64, 128, 256)
    ]
    momentum = _comparison("momentum update, resnet18", {"loop": 1, "_lerp_ (trainer)": 0.3}, remarks=("a remark",))
    folder = tmp_path / "results"
    write_result(folder / "hotpath-cpu.json", "hotpath", describe_machine("cpu"), [momentum, *grid])
    write_result(folder / "index-cpu.json", "index", describe_machine("cpu"), [], remarks=["open seconds: .2"])
    return folder


def test_the_page_has_everything_and_its_plots_are_there(results, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["b", "report", "--results", str(results), "--output", str(tmp_path / "docs")])
    command.main()
    summary = (tmp_path / "docs" / "benchmarks.md").read_text()
    links = re.findall(r"\[([^]]*)\]\((benchmarks/.*?\.md)\)", summary)
    assert [words.partition(":")[0] for words, _ in links] == ["The hot path", "The index (cpu)"]
    assert len(summary.splitlines()) < 40
    page = summary + "".join((tmp_path / "docs" / link).read_text() for _, link in links)
    for words in (
        "a remark",
        "open seconds: .2",
        "| peak MB |",
        "split \\| halves (trainer)",
        "<details>",
        "## In short",
    ):
        assert words in page, words
    assert str(tmp_path) not in page
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert len(pictures) == 2, "one of the momentum update, one of the grid"
    for name in pictures:
        picture = (tmp_path / "docs" / "benchmarks" / name).read_text()
        ElementTree.fromstring(picture)
        assert "(trainer)" in picture, "text is text"
    found = re.findall(r"\]\((\.\./[^)]*)\)", page)
    assert len(found) == 4, "the file of each, and back"
    for link in found:
        assert (tmp_path / "docs" / "benchmarks" / link).is_file()


def test_the_same_results_give_the_same_files_and_old_plots_go(results, tmp_path):
    docs = tmp_path / "docs"
    (docs / "benchmarks").mkdir(parents=True)
    (docs / "benchmarks" / "old.svg").write_text("")
    write_report(results, docs)
    first = {path.name: path.read_bytes() for path in docs.rglob("*.*")}
    write_report(results, docs)
    assert {path.name: path.read_bytes() for path in docs.rglob("*.*")} == first
    assert "old.svg" not in first


def test_a_second_run_says_how_far_it_is_from_the_first(results, tmp_path):
    again = _comparison("momentum update, resnet18", {"loop": 1, "_lerp_ (trainer)": 0.36})
    write_result(results / "again" / "hotpath-cpu.json", "hotpath", describe_machine("cpu"), [again])
    write_report(results, tmp_path / "docs")
    page = (tmp_path / "docs" / "benchmarks" / "hotpath-cpu.md").read_text()
    assert "A second run: 0 of 1 speeds agree within their spreads; the largest difference is -17%" in page


def test_nothing_to_report_is_a_mistake(tmp_path):
    with pytest.raises(InputError, match="no result files"):
        write_report(tmp_path, tmp_path / "docs")


def test_quick_results_are_named_where_there_are_no_others(results, tmp_path):
    folder = tmp_path / "benchmark-results"
    folder.mkdir()
    results.rename(folder / "quick")
    with pytest.raises(InputError, match=rf"--results {folder}: only .* quick .*, --results {folder}/quick$"):
        write_report(folder, tmp_path / "docs")


def test_parts_of_a_step_are_shares_of_it_on_the_page(tmp_path):
    step = _comparison("share of a step, resnet18, 64 px", {"whole step": 1, "hot path": 0.08}, are_rivals=False)
    write_result(tmp_path / "results" / "hotpath-cpu.json", "hotpath", describe_machine("cpu"), [step])
    write_report(tmp_path / "results", tmp_path / "docs")
    page = (tmp_path / "docs" / "benchmarks" / "hotpath-cpu.md").read_text()
    assert "| variant | ms | quartiles | of the step |" in page
    assert "| hot path | 80.0 | 76.0-84.0 | 8.0% |" in page
    assert "as fast" not in page
    assert not list((tmp_path / "docs").rglob("*.svg")), "a plot is of speeds"


def test_one_turn_and_other_limits_say_nothing_more_than_they_can(tmp_path):
    ratios = {"loop": 1, "ours": 0.5, "limit: decoding": 0.25, "limit: reading": 0.01}
    one = _comparison("two views", ratios, limit="limit: decoding")
    timings = {name: replace(timing, turns=1) for name, timing in one.timings.items()}
    write_result(tmp_path / "loader-cpu.json", "loader", describe_machine("cpu"), [replace(one, timings=timings)])
    write_report(tmp_path, tmp_path)
    page = (tmp_path / "benchmarks" / "loader-cpu.md").read_text()
    assert "| variant | ms | images/s | times as fast | of the limit |" in page
    assert "| limit: decoding | 250 | 32.0 | 4.00 | 100% |" in page
    assert "| limit: reading | 10.0 | 800 | 100 |  |" in page


def test_without_matplotlib_it_is_named(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="matplotlib is not installed"):
        write_report(results, tmp_path / "docs")


def test_ticks_are_few_round_and_have_one():
    for lowest, highest in ((0.8, 1.2), (0.3, 4.0), (0.9, 40.0), (0.01, 2000.0)):
        ticks = [round(tick, 6) for tick in plots._ticks(lowest, highest)]
        assert 1.0 in ticks
        assert 3 <= len(ticks) <= 14
