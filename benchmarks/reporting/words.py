"""What comparisons come to in words: which variant wins, by how much, what loses, and where a gain does not matter.

A group is the same comparison over a grid of settings, such as InfoNCE at several sizes of the queue.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measuring.result import LIMIT, Comparison
from benchmarks.reporting.compare import spread
from benchmarks.reporting.plots import format_speed

TRAINER = "(trainer)"
_MATTERS = 0.01  # of a training step, below which a gain is called of no matter
# Variants that do only a part of the work, as what the others can at best come to.
_LIMITS = (LIMIT, "copy of", "decode only", "file copy")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Comparisons whose titles are alike up to the first comma and whose reference, the first variant, is the same."""

    title: str
    comparisons: tuple[Comparison, ...]

    @property
    def reference(self) -> str:
        return next(iter(self.comparisons[0].timings))

    @property
    def are_rivals(self) -> bool:
        return all(comparison.are_rivals for comparison in self.comparisons)

    @property
    def limits(self) -> frozenset[str]:
        """Variants, of any of the comparisons, that are not ways of doing all of the work."""
        names = {name for one in self.comparisons for name in one.timings if name.startswith(_LIMITS)}
        return frozenset(names | {one.limit for one in self.comparisons if one.limit is not None})

    def speeds(self, name: str) -> list[float]:
        """How many times as fast as the reference a variant is, wherever it was measured."""
        return [one.timings[name].speed for one in self.comparisons if name in one.timings]

    def winners(self) -> dict[str, list[Comparison]]:
        """Variants that are the fastest anywhere, with where they are."""
        found: dict[str, list[Comparison]] = defaultdict(list)
        for comparison in self.comparisons:
            found[self.fastest(comparison)].append(comparison)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def fastest(self, comparison: Comparison) -> str:
        """Of the variants that do the work; by speed, as what is compared."""
        names = [name for name in comparison.timings if name not in self.limits] or list(comparison.timings)
        return max(names, key=lambda name: comparison.timings[name].speed)

    def losers(self) -> dict[str, list[float]]:
        """Variants that are slower than the reference somewhere, beyond the spread, with how fast they are there."""
        found: dict[str, list[float]] = defaultdict(list)
        for comparison in self.comparisons:
            for name, timing in comparison.timings.items():
                if name not in self.limits and spread(timing)[1] < 1:
                    found[name].append(timing.speed)
        return dict(found)


def group_comparisons(comparisons: Sequence[Comparison]) -> list[Group]:
    """Groups in the order of their first comparisons; what comes alone keeps its whole title."""
    found: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for comparison in comparisons:
        found[comparison.title.partition(", ")[0], next(iter(comparison.timings))].append(comparison)
    return [
        Group(title=title if len(group) > 1 else group[0].title, comparisons=tuple(group))
        for (title, _), group in found.items()
    ]


def describe(group: Group, step: Comparison | None = None) -> Iterator[str]:
    """Sentences on a group; ``step`` is the whole training step that it is a part of."""
    if not group.are_rivals or len(group.comparisons[0].timings) == 1:
        return
    winners = group.winners()
    yield f"Fastest: {'; '.join(_winner(group, name, where) for name, where in winners.items())}."
    if level := _level(group):
        yield f"Too near to call, as the spreads overlap: {level}."
    yield from _trainer(group)
    if losers := group.losers():
        words = (f"{name} ({_range(speeds)}{_of(speeds, group)})" for name, speeds in losers.items())
        yield f"Slower than {group.reference}: {', '.join(words)}."
    if step is not None:
        yield from _matter(group, step)


def find_step(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison of the hot path with the whole step, whose first variant is that step."""
    return next((one for one in comparisons if one.are_parts), None)


def summary(group: Group) -> tuple[str, str, str, str]:
    """What was compared, the fastest, how many times as fast as the reference, and what is slower than it."""
    winners = group.winners()
    speeds = [one.timings[name].speed for name, where in winners.items() for one in where]
    losers = ", ".join(f"{name} {_range(found)}" for name, found in group.losers().items())
    named = "; ".join(winners)
    against = f"{_range(speeds)} {group.reference}" if list(winners) != [group.reference] else "it is the reference"
    return group.title, named, against, losers or "none"


def _winner(group: Group, name: str, where: Sequence[Comparison]) -> str:
    speeds = [one.timings[name].speed for one in where]
    words = f"{name}, {_range(speeds)} the speed of {group.reference}" if name != group.reference else name
    if len(where) == len(group.comparisons):
        return words
    places = "; ".join(_setting(one) for one in where)
    return f"{words} (at {places})" if len(where) <= 3 else f"{words} (in {len(where)} of {len(group.comparisons)})"


def _level(group: Group) -> str:
    """Where the second fastest is within the spread of the fastest."""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for comparison in group.comparisons:
        fastest = group.fastest(comparison)
        low, _ = spread(comparison.timings[fastest])
        for name, timing in comparison.timings.items():
            if name != fastest and name not in group.limits and spread(timing)[1] >= low:
                places[fastest, name].append(_setting(comparison))
    level: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (fastest, name), settings in places.items():
        everywhere = len(settings) == len(group.comparisons)
        where = "" if everywhere else f" (at {'; '.join(settings[:3])}{'; ...' if len(settings) > 3 else ''})"
        level[fastest, where].append(name)
    return "; ".join(f"{fastest} and {' and '.join(names)}{where}" for (fastest, where), names in level.items())


def _trainer(group: Group) -> Iterator[str]:
    names = dict.fromkeys(name for one in group.comparisons for name in one.timings if TRAINER in name)
    for name in names:
        slower = []
        for comparison in group.comparisons:
            best = group.fastest(comparison)
            if name not in comparison.timings:
                continue
            if spread(comparison.timings[name])[1] < spread(comparison.timings[best])[0]:
                behind = comparison.timings[name].speed / comparison.timings[best].speed
                slower.append(f"{behind:.2f}x the speed of {best} at {_setting(comparison)}")
        if name != group.reference:
            yield f"The trainer uses {name}: {_range(group.speeds(name))} the speed of {group.reference}."
        if slower:
            more = f", and {len(slower) - 3} more" if len(slower) > 3 else ""
            yield f"It is not the fastest everywhere: {'; '.join(slower[:3])}{more}."


def _matter(group: Group, step: Comparison) -> Iterator[str]:
    """What the fastest saves, as a share of the step at the same batch, where it is faster beyond the spread."""
    whole = next(iter(step.timings.values())).median
    shares = []
    for comparison in group.comparisons:
        if spread(comparison.timings[group.fastest(comparison)])[0] <= 1:
            continue
        batch = re.search(r"batch (\d[\d,]*)", comparison.title)
        scale = int(batch[1].replace(",", "")) / step.rate if batch else 1.0
        saved = comparison.timings[group.reference].median - comparison.timings[group.fastest(comparison)].median
        shares.append(saved / (whole * scale))
    if not shares:
        return
    low, high = _percent(min(shares)), _percent(max(shares))
    words = low if low == high else f"{low} to {high}"
    verdict = "which does not matter for training" if max(shares) < _MATTERS else "which matters for training"
    if max(shares) >= _MATTERS > min(shares):
        verdict = "which matters for training only at the upper end"
    yield f"Beside {group.reference} the fastest saves {words} of a step ({step.title}, same batch), {verdict}."


def _percent(share: float) -> str:
    return "less than 0.01%" if share < 1e-4 else f"{share:.2%}"


def _setting(comparison: Comparison) -> str:
    return comparison.title.partition(", ")[2] or comparison.title


def _range(speeds: Sequence[float]) -> str:
    low, high = format_speed(min(speeds)), format_speed(max(speeds))
    return f"{low}x" if low == high else f"{low} to {high}x"


def _of(speeds: Sequence[float], group: Group) -> str:
    return "" if len(speeds) == len(group.comparisons) else f", in {len(speeds)} of {len(group.comparisons)}"


def limits_reached(group: Group) -> Iterator[str]:
    """How near the fastest comes to each limit."""
    for limit in sorted(group.limits):
        where: Mapping[str, float] = {
            _setting(one): one.timings[group.fastest(one)].speed / one.timings[limit].speed
            for one in group.comparisons
            if limit in one.timings and group.fastest(one) != limit
        }
        if where:
            low, high = min(where.values()), max(where.values())
            upto = f" to {high:.0%}" if f"{high:.0%}" != f"{low:.0%}" else ""
            yield f"The fastest runs at {low:.0%}{upto} of the speed of {limit}."
