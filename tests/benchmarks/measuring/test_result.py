import pytest

from benchmarks.measuring.resources import Resources
from benchmarks.measuring.result import Comparison, Timing, read_result, write_result
from shards.base.errors import InputError

NAMES = ("the reference with a name as long as it", "limit: decoding alone")


def _timing(seconds, **more):
    return Timing(
        median=seconds, low_quartile=0.9 * seconds, high_quartile=1.1 * seconds, speed=2 / seconds, turns=3, **more
    )


def _comparison(**more):
    timings = {NAMES[0][:37]: _timing(2.0, cpu_seconds=3.0), "ours": _timing(0.5), NAMES[1]: _timing(0.25)}
    return Comparison(title="views", work="images", rate=2000.0, unit="images", timings=timings, **more)


def test_resources_are_a_table_of_at_most_120_columns():
    used = Resources(
        wait_share=0.25, consumer=1000.0, peak_megabytes=12345.0, pass_megabytes=(1.0,), first_batch_seconds=1.5
    )
    comparison = _comparison(limit=NAMES[1], resources={"ours": used}, remarks=("a long remark " * 20,))
    table = comparison.table()
    assert max(len(line) for line in table.splitlines()) <= 120
    ours = next(line.split() for line in table.splitlines() if line.startswith("  ours"))
    assert ours == ["ours", "4,000", "3,636-4,444", "4.00", "50%", "25%", "12,345", "1,500"]
    reference = next(line.split() for line in table.splitlines() if line.startswith("  the reference"))
    assert reference[-3:] == ["1.00", "12%", "1.50"], "processor seconds a thousand images"


def test_operations_and_peak_memory_are_columns_where_they_are_known():
    assert "GFLOP/s" not in _comparison().table()
    comparison = _comparison(flops=4e9, memory={"ours": 3 * 2**20})
    table = comparison.table()
    assert max(len(line) for line in table.splitlines()) <= 120
    head, *lines = table.splitlines()[1:]
    assert head.split()[-3:] == ["GFLOP/s", "peak", "MB"]
    assert next(line.split() for line in lines if line.startswith("  ours"))[-2:] == ["8.0", "3.0"]
    assert lines[0].split()[-1] == "2.0", "no memory was measured of the first"


def test_without_resources_the_table_has_milliseconds():
    table = _comparison().table()
    assert "quartiles" in table
    assert "2000.000" in table
    assert _comparison().speedup("ours", NAMES[0][:37]) == 4.0


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        ({"commit": 3}, "machine: commit is 3"),
        ({"versions": [1]}, "machine: versions"),
        ({"environment": 1}, "machine: e"),
    ],
)
def test_facts_of_the_machine_are_of_their_kind(tmp_path, fact, told):
    write_result(tmp_path / "a.json", "step", {"cpu": "one", "strange": 1}, [_comparison()])
    assert read_result(tmp_path / "a.json").machine["strange"] == 1
    write_result(tmp_path / "a.json", "step", fact, [_comparison()])
    with pytest.raises(InputError, match=f"a.json: not a benchmark result, {told}.*; run the benchmark again"):
        read_result(tmp_path / "a.json")
