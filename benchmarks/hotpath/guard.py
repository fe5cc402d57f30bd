"""Does the hot path still gain what it is written for? What continuous integration asks, on however noisy a machine.

    python -m benchmarks guard

Only ratios within one run are asked for, with wide margins: on idle machines the multi-tensor momentum update takes a
quarter to a third of the out-of-place loop's time, loss with gradient a third to two thirds of clone-and-concatenate's
and a twentieth of its memory. A ratio is the median over turns in which the variants alternate, so that a job which
comes in between hits both. Exit code 1 where a ratio is above its ceiling.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.hotpath import run as hotpath
from benchmarks.measuring.result import Comparison
from benchmarks.settings import HotpathConfig


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The highest ratios of the trainer's variant to the first one, in time and in peak memory, for comparisons whose
    title starts so."""

    title: str
    reference: str
    time: float
    memory: float | None = None


CEILINGS = (
    Ceiling(title="momentum update", reference="out-of-place loop", time=0.8),
    Ceiling(title="InfoNCE", reference="clone, concatenate", time=1.0, memory=0.3),
)
_MEASURED = HotpathConfig(encoder=("resnet18",), queue=(65_536,), turns=15, compile=False, share=False)


def guard() -> int:
    """Does the hot path still gain what it is written for? Exit code 1 if not."""
    misses = list(find_misses(list(hotpath.run(_MEASURED))))
    print("\n".join(f"guard: {miss}" for miss in misses) or f"guard: {len(CEILINGS)} gains are there")
    return 1 if misses else 0


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
            if ratio > ceiling.time:
                yield f"{comparison.title}: {ours[0]} takes {ratio:.2f} of {names[0]}, above {ceiling.time}"
            if ceiling.memory is not None:
                assert comparison.memory is not None, f"{comparison.title}: memory not measured"
                share = comparison.memory[ours[0]] / comparison.memory[names[0]]
                if share > ceiling.memory:
                    yield f"{comparison.title}: {ours[0]} takes {share:.2f} of the memory, above {ceiling.memory}"
