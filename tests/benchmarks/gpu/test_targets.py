import pytest

from benchmarks.gpu.parts import ENGINES, result_path
from benchmarks.gpu.targets import sentences, table
from benchmarks.measuring.result import Comparison, Timing, write_result

GOOD = {"grey_levels_mean": 0.4, "grey_levels_most": 9.0, "same_again": True, "same_in_other_batches": True}
PAIRS = [f"{preset} {engine}" for preset in ("moco_cxr", "moco_v2") for engine in ENGINES]


def comparison(title: str, rate: float, **seconds: float) -> Comparison:
    first = next(iter(seconds.values()))
    timings = {
        name: Timing(median=s, low_quartile=s, high_quartile=s, speed=first / s, turns=1) for name, s in seconds.items()
    }
    return Comparison(title=title, work="w", rate=rate, unit="images", timings=timings)


@pytest.fixture
def verdict(tmp_path):
    """Writes one part's result, and gives the line of its target."""

    def judge(part: str, *comparisons: Comparison, device: str = "cuda", asked: str = "", **figures: object) -> str:
        write_result(result_path(tmp_path, part, device), part, {}, comparisons, figures=figures)
        lines = [line for line in table(tmp_path, device).splitlines()[2:] if not line.endswith("| not measured |")]
        (line,) = [line for line in lines if asked in line]
        return line

    return judge


def test_nothing_is_measured_of_an_empty_folder(tmp_path):
    lines = table(tmp_path, "cuda").splitlines()[2:]
    assert len(lines) == 10
    assert all(line.endswith("|  | not measured |") for line in lines)


def test_targets_on_a_terminal_of_80_columns(verdict, tmp_path):
    verdict("tests", passed=40, failed=2, skipped=0)
    lines = sentences(tmp_path, "cuda").splitlines()
    assert max(map(len, lines)) <= 80
    assert "NOT MET: tests marked gpu pass (measured: 40 passed, 2 failed, 0 skipped)" in lines
    assert sum(line.startswith("not measured: ") for line in lines) == 9


def test_engines(verdict):
    assert verdict("smoke", **dict.fromkeys(PAIRS, GOOD)).endswith("| 6 of 6 do, 0.400 at most | met |")
    for wrong in (None, GOOD | {"same_again": False}, GOOD | {"same_in_other_batches": False}):
        assert "| 5 of 6 do" in verdict("smoke", **dict.fromkeys(PAIRS, GOOD) | {PAIRS[3]: wrong})
    far = verdict("smoke", **dict.fromkeys(PAIRS, GOOD) | {PAIRS[0]: GOOD | {"grey_levels_mean": 3.5}})
    assert far.endswith("| 5 of 6 do, 3.500 at most | NOT MET |")


def test_tests(verdict, tmp_path):
    assert verdict("tests", passed=40, failed=0, skipped=1).endswith("| 40 passed, 0 failed, 1 skipped | met |")
    assert verdict("tests", passed=40, failed=2, skipped=0).endswith("NOT MET |")
    write_result(
        result_path(tmp_path, "tests", "cuda"), "tests", {}, (), figures={"passed": 0, "failed": 0, "skipped": 9}
    )
    assert "| tests marked gpu pass |  | not measured |" in table(tmp_path, "cuda")


def test_waits_and_resumption(verdict):
    assert verdict("waits", waits=0.0).endswith("| 0.00 | met |")
    assert verdict("waits", waits=1.0, asked="waits").endswith("| 1.00 | NOT MET |")
    assert verdict("resume", difference=0.0, stopped_inside=True, asked="resumed").endswith("| met |")
    assert verdict("resume", difference=1e-7, stopped_inside=True, asked="resumed").endswith("at most | NOT MET |")


def test_throughput_is_of_the_fastest_engine_and_wants_little_waiting(verdict):
    fast, slow = ({"images_per_second": rate, "data_wait_percent": 0.5, "gibibytes": 1.0} for rate in (4100.0, 900.0))
    assert verdict("throughput", resident=fast, dali=slow).endswith("| 4,100 images/s, 0.5 % (resident) | met |")
    assert verdict("throughput", resident=fast | {"data_wait_percent": 3.0}, dali=None).endswith("NOT MET |")


def test_the_hot_path(verdict):
    momentum = {"out-of-place loop": 1e-3, "_foreach_lerp_ (trainer)": 9e-5}
    share = {"whole step (trainer)": 1.0, "hot path (trainer)": 0.03}
    made = (
        comparison("momentum update, resnet50", 23.5, **momentum),
        comparison("share of a step, resnet18", 1, **share),
    )
    assert verdict("hotpath", *made, asked="100 us").endswith("| 90 us | met |")
    assert verdict("hotpath", *made, asked="2 %").endswith("| 3.0% | NOT MET |")


def test_loading(verdict):
    made = comparison("two 224 px views", 8192, resident=0.08)
    assert "102,400 images/s" in verdict("loader-resident", made)
    assert verdict("loader-dali", comparison("two 224 px views", 8192, dali=1.0), asked="dali").endswith("NOT MET |")


def test_a_cpu_is_not_judged_by_its_speed(verdict):
    made = comparison("momentum update, resnet50", 23.5, **{"_foreach_lerp_ (trainer)": 1e-2})
    line = verdict("hotpath", made, device="cpu")
    assert line.endswith("| 10,000 us | not measured (a trial on a CPU) |")
    assert verdict("tests", device="cpu", passed=3, failed=0, skipped=0, asked="gpu").endswith("| met |")
