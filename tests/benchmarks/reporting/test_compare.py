import json
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks.measuring.machine import describe_machine
from benchmarks.measuring.result import Comparison, Timing, read_result, write_result
from benchmarks.reporting.compare import changes, compare
from shards.base.errors import InputError, run_command


def _write(path, speeds, *, title="momentum", scale=1.0, spread=0.01):
    """A result with the speeds of variants beside the first; ``scale`` is how slow the machine is."""
    timings = {
        name: Timing(
            median=scale / speed,
            low_quartile=0.9 * scale / speed,
            high_quartile=1.1 * scale / speed,
            speed=speed,
            turns=3,
            speed_low_quartile=speed - spread,
            speed_high_quartile=speed + spread,
        )
        for name, speed in speeds.items()
    }
    one = Comparison(title=title, work="a call", rate=1.0, unit="calls", timings=timings)
    write_result(path, "hotpath", describe_machine("cpu"), [one])
    return path


def test_a_speed_that_falls_beyond_the_share_fails_and_one_that_does_not_passes(tmp_path, capsys):
    before = _write(tmp_path / "before.json", {"loop": 1.0, "flat": 4.0, "in place": 2.0})
    after = _write(tmp_path / "after.json", {"loop": 1.0, "flat": 2.8, "in place": 2.0})
    assert compare(before, after, allow=0.2) == 1
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("  flat"))
    assert line.split() == ["flat", "4.000", "2.800", "-30.0%", "WORSE"]
    assert "2 compared: 1 worse by more than 20%, 0 better, 0 changed as much within the spread" in " ".join(
        printed.split()
    )
    assert compare(before, after, allow=0.4) == 0
    assert compare(after, before, allow=0.2) == 0, "faster is not worse"
    assert compare(before, after, allow=0.2, only=["in place"]) == 0


def test_long_names_and_titles_fit_80_columns(tmp_path, capsys):
    long = "a variant whose name is as long as a sentence, which is wrapped and not cut off"
    paths = [
        _write(tmp_path / name, {"loop": 1.0, long: speed}, title="a title of many words, " * 6)
        for name, speed in (("before.json", 40.0), ("after.json", 28.0))
    ]
    assert compare(*paths) == 1
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert long in " ".join(printed.split())


def test_times_are_never_compared(tmp_path):
    before = _write(tmp_path / "before.json", {"loop": 1.0, "flat": 0.3})
    after = _write(tmp_path / "after.json", {"loop": 1.0, "flat": 0.3}, scale=100.0)
    assert compare(before, after, allow=0.0) == 0


def test_only_what_both_have_is_compared_and_the_rest_is_said(tmp_path, capsys):
    before = _write(tmp_path / "before.json", {"loop": 1.0, "flat": 0.3, "gone": 0.1})
    after = _write(tmp_path / "after.json", {"loop": 1.0, "flat": 0.3})
    assert compare(before, after) == 0
    assert "1 only in the one before, such as momentum: gone" in capsys.readouterr().out
    other = _write(tmp_path / "other.json", {"flat": 1.0, "loop": 3.0})
    with pytest.raises(InputError, match="no comparisons in common"):
        compare(before, other)  # beside another first variant
    with pytest.raises(InputError, match="names hold trainer; run"):
        compare(before, after, only=["trainer"])


def test_what_is_within_the_spread_is_not_worse(tmp_path, capsys):
    """Two runs of the same code could differ as much."""
    before = _write(tmp_path / "before.json", {"loop": 1.0, "flat": 4.0}, spread=0.9)
    after = _write(tmp_path / "after.json", {"loop": 1.0, "flat": 2.8}, spread=0.9)
    for first, second in ((before, after), (after, before)):
        assert compare(first, second, allow=0.2) == 0
        printed = capsys.readouterr().out
        assert "within the spread" in printed
        assert "WORSE" not in printed
        assert "0 worse by more than 20%, 0 better, 1 changed as much within the spread" in " ".join(printed.split())


def test_spreads_that_overlap_are_within_the_spread(tmp_path):
    before = read_result(_write(tmp_path / "before.json", {"loop": 1.0, "flat": 0.30}, spread=0.03))
    near = read_result(_write(tmp_path / "near.json", {"loop": 1.0, "flat": 0.35}, spread=0.03))
    far = read_result(_write(tmp_path / "far.json", {"loop": 1.0, "flat": 0.37}, spread=0.03))
    assert [change.is_within_spread for change in changes(before, near)] == [True]
    assert [change.is_within_spread for change in changes(before, far)] == [False]


@pytest.mark.parametrize(("share", "status"), [("0.2", 1), ("0.5", 0), ("-1", 2)])
def test_exit_codes_of_the_command(tmp_path, monkeypatch, share, status):
    before = _write(tmp_path / "before.json", {"loop": 1.0, "flat": 0.4})
    after = _write(tmp_path / "after.json", {"loop": 1.0, "flat": 0.3})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "compare", str(before), str(after), "--allow", share])
    with pytest.raises(SystemExit) as ended:
        run_command(command.main)
    assert ended.value.code == status


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw.pop("machine"), "result without machine"),
        (lambda raw: raw["comparisons"][0].pop("rate"), "comparison without rate"),
        (lambda raw: raw["comparisons"][0]["timings"]["flat"].update(speed="fast"), "flat: speed is 'fast', not a"),
        (lambda raw: raw["comparisons"][0]["timings"].clear(), "momentum: no timings"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path, damage, message):
    path = _write(tmp_path / "result.json", {"loop": 1.0, "flat": 0.3})
    raw = json.loads(path.read_text())
    damage(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=f"result.json: not a benchmark result, {message}"):
        read_result(path)


def test_a_file_that_is_not_there_or_not_json(tmp_path):
    with pytest.raises(InputError, match="no such file; name a file that a benchmark wrote"):
        read_result(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("a table")
    with pytest.raises(InputError, match="is no JSON"):
        read_result(tmp_path / "text.json")


def test_a_member_of_a_later_version_is_passed_over(tmp_path):
    path = _write(tmp_path / "result.json", {"loop": 1.0, "flat": 0.3})
    raw = json.loads(path.read_text())
    raw["comparisons"][0]["weather"] = "fair"
    path.write_text(json.dumps(raw))
    assert read_result(path).comparisons[0].timings["flat"].speed == 0.3
