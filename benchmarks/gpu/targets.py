"""What a GPU is to reach, beside what was measured."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import ENGINES, result_path
from benchmarks.measuring.result import SHARE, Comparison, Result, read_result
from eval.report.terminal import wrapped

_PRESETS = ("moco_cxr", "moco_v2")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured, in words, and whether it is what was asked for."""

    words: str
    is_met: bool


@dataclass(frozen=True, kw_only=True)
class Target:
    """``read`` finds it in the result of a part, or not; ``is_speed`` where a CPU's figure says nothing."""

    asked: str
    part: str
    read: Callable[[Result], Found | None]
    is_speed: bool = True


def table(folder: Path, device: str) -> str:
    """Markdown: each target, what was measured and met, not met or not measured."""
    rows = (f"| {asked} | {measured} | {verdict} |" for asked, measured, verdict in _verdicts(folder, device))
    return "\n".join(["| target | measured | verdict |", "|---|---|---|", *rows]) + "\n"


def sentences(folder: Path, device: str) -> str:
    """The same for a terminal of 80 columns."""
    return "\n".join(
        wrapped(f"{verdict}: {asked}{f' (measured: {measured})' if measured else ''}", later="  ")
        for asked, measured, verdict in _verdicts(folder, device)
    )


def _verdicts(folder: Path, device: str) -> Iterator[tuple[str, str, str]]:
    """What was asked for, what was measured, and what that comes to."""
    for target in TARGETS:
        found = _found(target, folder, device)
        if found is None:
            verdict = "not measured"
        elif device == "cpu" and target.is_speed:
            verdict = "not measured (a trial on a CPU)"
        else:
            verdict = "met" if found.is_met else "NOT MET"
        yield target.asked, "" if found is None else found.words, verdict


def _found(target: Target, folder: Path, device: str) -> Found | None:
    path = result_path(folder, target.part, device)
    return target.read(read_result(path)) if path.exists() else None


def _smoke(result: Result) -> Found | None:
    figures = result.figures or {}
    pairs = [f"{preset} {engine}" for preset in _PRESETS for engine in ENGINES]
    if any(pair not in figures for pair in pairs):
        return None
    good = [pair for pair in pairs if _agrees(figures[pair])]
    worst = max((figures[pair]["grey_levels_mean"] for pair in pairs if figures[pair]), default=float("nan"))
    return Found(words=f"{len(good)} of {len(pairs)} do, {worst:.3f} at most", is_met=len(good) == len(pairs))


def _agrees(found: Mapping[str, Any] | None) -> bool:
    return bool(found and found["grey_levels_mean"] < 1 and found["same_again"] and found["same_in_other_batches"])


def _tests(result: Result) -> Found | None:
    figures = result.figures or {}
    if "passed" not in figures or not figures["passed"] + figures["failed"]:
        return None
    words = f"{figures['passed']} passed, {figures['failed']} failed, {figures['skipped']} skipped"
    return Found(words=words, is_met=not figures["failed"])


def _waits(result: Result) -> Found | None:
    waits = (result.figures or {}).get("waits")
    return None if waits is None else Found(words=f"{waits:.2f}", is_met=waits == 0)


def _resume(result: Result) -> Found | None:
    figures = result.figures or {}
    if "difference" not in figures or not figures["stopped_inside"]:
        return None
    return Found(words=f"differ by {figures['difference']:.3g} at most", is_met=figures["difference"] == 0)


def _throughput(result: Result) -> Found | None:
    figures = result.figures or {}
    measured = {engine: figures[engine] for engine in ENGINES if figures.get(engine)}
    if not measured:
        return None
    best = max(measured, key=lambda engine: measured[engine]["images_per_second"])
    rate, wait = measured[best]["images_per_second"], measured[best]["data_wait_percent"]
    words = f"{rate:,.0f} images/s, {wait:.1f} % ({best})"
    return Found(words=words, is_met=rate >= 4000 and wait < 1)


def _one(result: Result, start: str) -> Comparison | None:
    return next((each for each in result.comparisons if each.title.startswith(start)), None)


def _momentum(result: Result) -> Found | None:
    comparison = _one(result, "momentum update, resnet50")
    if comparison is None:
        return None
    seconds = comparison.timings["_foreach_lerp_ (trainer)"].median
    return Found(words=f"{1e6 * seconds:,.0f} us", is_met=seconds < 100e-6)


def _share(result: Result) -> Found | None:
    comparison = _one(result, SHARE)
    if comparison is None:
        return None
    share = comparison.share("hot path (trainer)")
    return Found(words=f"{share:.1%}", is_met=share < 0.02)


def _loading(engine: str, asked: float) -> Callable[[Result], Found | None]:
    def read(result: Result) -> Found | None:
        comparison = next((each for each in result.comparisons if engine in each.timings), None)
        if comparison is None:
            return None
        rate = comparison.rate / comparison.timings[engine].median
        return Found(words=f"{rate:,.0f} images/s ({comparison.title})", is_met=rate >= asked)

    return read


def _targets() -> Iterator[Target]:
    asked = "engines within a grey level of the CPU's on average, the same again and in other batches"
    yield Target(asked=asked, part="smoke", read=_smoke, is_speed=False)
    yield Target(asked="tests marked gpu pass", part="tests", read=_tests, is_speed=False)
    yield Target(asked="waits for the device in a training step: 0", part="waits", read=_waits)
    yield Target(asked="a resumed run ends with the same bits", part="resume", read=_resume, is_speed=False)
    asked = "ResNet18 at 320 px: 4,000 images/s, data wait under 1 %"
    yield Target(asked=asked, part="throughput", read=_throughput)
    yield Target(asked="momentum update of ResNet50 under 100 us", part="hotpath", read=_momentum)
    asked = "momentum update, loss and queue under 2 % of a step (224 px, batch 256)"
    yield Target(asked=asked, part="hotpath", read=_share)
    yield Target(asked="two views, resident: 100,000 images/s", part="loader-resident", read=_loading("resident", 1e5))
    for engine in ("dali", "kornia"):
        asked = f"two views, decoded by {engine}: 20,000 images/s"
        yield Target(asked=asked, part=f"loader-{engine}", read=_loading(engine, 2e4))


TARGETS = tuple(_targets())
