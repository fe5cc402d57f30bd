"""Does the hot path still gain what it is written for? What continuous integration asks, on however noisy a machine.

    python -m benchmarks guard

Only ratios within one run are asked for, with wide margins: on idle machines the multi-tensor momentum update takes a
quarter to a third of the out-of-place loop's time, and loss with gradient less than half of clone-and-concatenate's.
Exit code 1 where a ratio is above its ceiling in each of three runs, since another job can hit one variant of one run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import hotpath
from benchmarks.hotpath import HotpathConfig
from benchmarks.result import Comparison

_RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The highest ratio of the trainer's variant to the first one, for comparisons whose title starts so."""

    title: str
    reference: str
    ratio: float


CEILINGS = (
    Ceiling(title="momentum update", reference="out-of-place loop", ratio=0.8),
    Ceiling(title="InfoNCE", reference="clone, concatenate", ratio=0.9),
)


def guard() -> int:
    """Does the hot path still gain what it is written for? Exit code 1 if not.

    Measures until all ratios are below their ceilings, at most three times.
    """
    config = HotpathConfig(quick=True, share=False, turns=5)
    for run in range(_RUNS):
        misses = list(find_misses(hotpath.run(config)))
        if not misses:
            print(f"guard: {len(CEILINGS)} ratios below their ceilings")
            return 0
        print("\n".join(f"guard, run {run + 1} of {_RUNS}: {miss}" for miss in misses))
    return 1


def find_misses(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """What is above its ceiling, in words. What is guarded must have been measured, against the same reference."""
    for ceiling in CEILINGS:
        guarded = [one for one in comparisons if one.title.startswith(ceiling.title)]
        assert guarded, f"{ceiling.title}: not measured"
        for comparison in guarded:
            names = list(comparison.timings)
            ours = [name for name in names if "(trainer)" in name]
            assert names[0] == ceiling.reference, f"{comparison.title}: is against {names[0]}"
            assert len(ours) == 1, f"{comparison.title}: the trainer's is not one of {', '.join(names)}"
            ratio = comparison.timings[ours[0]].ratio
            if ratio > ceiling.ratio:
                yield f"{comparison.title}: {ours[0]} takes {ratio:.2f} of {names[0]}, above {ceiling.ratio}"
