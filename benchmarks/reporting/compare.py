"""Two results of one benchmark beside each other: what became slower?

    python -m benchmarks compare BEFORE.json AFTER.json --allow 0.2

Only how many times as fast as the first variant of its run each is, since times drift with the machine. Exit code 1
where one fell by more than the allowed share and beyond the spread of the turns, 2 for a mistake.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring.columns import tabulate
from benchmarks.measuring.result import Comparison, Result, Timing, read_result
from eval.report.terminal import wrapped
from shards.base.errors import InputError

_SAME_MACHINE = ("cpu", "gpu", "cores", "torch_threads", "environment")


@dataclass(frozen=True, kw_only=True)
class Change:
    """How many times as fast as the first variant one is, before and after; above 1 is faster than the first."""

    title: str
    variant: str
    before: Timing
    after: Timing

    @property
    def share(self) -> float:
        """How much faster it became relative to the first variant: .1 is a tenth faster, negative is slower."""
        return self.after.speed / self.before.speed - 1

    @property
    def is_within_spread(self) -> bool:
        """Whether the middle halves of the turns overlap, so that two runs of the same code could differ as much."""
        before_low, before_high = spread(self.before)
        after_low, after_high = spread(self.after)
        return after_low <= before_high and before_low <= after_high

    def verdict(self, allow: float) -> str:
        """Empty where it changed by ``allow`` at most; what is within the spread is neither better nor worse."""
        if abs(self.share) <= allow:
            return ""
        if self.is_within_spread:
            return "within the spread"
        return "better" if self.share > 0 else "WORSE"


def compare(before: Path, after: Path, *, allow: float = 0.2, only: Sequence[str] = ()) -> int:
    """Prints a table of all speeds in both files.

    Args:
        allow: share by which a speed may fall.
        only: words, one of which must be in a variant's name for it to count; none takes all.

    Returns:
        1 where one fell by more than ``allow`` and beyond the spread, else 0.

    Raises:
        InputError: a file is no result, the two have nothing in common, or ``allow`` is negative.
    """
    if allow < 0:
        raise InputError(f"--allow {allow}: must be 0 or more, a share such as 0.2")
    old, new = read_result(before), read_result(after)
    found = [change for change in changes(old, new) if not only or any(word in change.variant for word in only)]
    if not found:
        which = f" whose variants' names hold {' or '.join(only)}" if only else ""
        raise InputError(f"{before} and {after} have no comparisons in common{which}; run the same grid for both")
    print(
        "\n".join(tabulate(("times as fast as the first", "before", "after", "change", ""), list(_rows(found, allow))))
    )
    verdicts = Counter(change.verdict(allow) for change in found)
    print()
    for remark in _remarks(old, new):
        print(wrapped(remark, later="  "))
    told = f"{len(found)} compared: {verdicts['WORSE']} worse by more than {allow:.0%}, {verdicts['better']} better"
    print(wrapped(f"{told}, {verdicts['within the spread']} changed as much within the spread", later="  "))
    return 1 if verdicts["WORSE"] else 0


def changes(before: Result, after: Result) -> Iterator[Change]:
    """What both have: comparisons by title, variants by name, but for the first ones, beside which others stand."""
    later = {comparison.title: comparison for comparison in after.comparisons}
    for old in before.comparisons:
        new = later.get(old.title)
        if new is None or _first(new) != _first(old):
            continue
        for name, timing in old.timings.items():
            if name in new.timings and name != _first(old):
                yield Change(title=old.title, variant=name, before=timing, after=new.timings[name])


def spread(timing: Timing) -> tuple[float, float]:
    """Quartiles of the speed over the turns; of files without them, those of the time in proportion."""
    if timing.speed_low_quartile is not None and timing.speed_high_quartile is not None:
        return timing.speed_low_quartile, timing.speed_high_quartile
    scale = timing.speed * timing.median
    return scale / timing.high_quartile, scale / timing.low_quartile


def _first(comparison: Comparison) -> str:
    return next(iter(comparison.timings))


def _rows(found: Sequence[Change], allow: float) -> Iterator[tuple[str, ...]]:
    """Titles, each above what was found of it."""
    title = None
    for change in found:
        if change.title != title:
            title = change.title
            yield (title,)
        before, after = f"{change.before.speed:.3f}", f"{change.after.speed:.3f}"
        yield change.variant, before, after, f"{change.share:+.1%}", change.verdict(allow)


def _remarks(before: Result, after: Result) -> Iterator[str]:
    """What keeps the two from being compared whole."""
    for name in _SAME_MACHINE:
        if name not in before.machine or name not in after.machine:  # of an earlier version
            continue
        old, new = before.machine[name], after.machine[name]
        if old != new:
            yield f"measured differently: {name.replace('_', ' ')} {old} before, {new} after"
    old_variants, new_variants = _variants(before), _variants(after)
    for words, missing in (("before", old_variants - new_variants), ("after", new_variants - old_variants)):
        if missing:
            yield f"{len(missing)} only in the one {words}, such as {': '.join(min(missing))}"
    after_titles = {comparison.title: _first(comparison) for comparison in after.comparisons}
    for comparison in before.comparisons:
        if after_titles.get(comparison.title, _first(comparison)) != _first(comparison):
            yield f"not compared, as the first variant differs: {comparison.title}"


def _variants(result: Result) -> set[tuple[str, str]]:
    return {
        (comparison.title, name)
        for comparison in result.comparisons
        for name in comparison.timings
        if name != _first(comparison)
    }
