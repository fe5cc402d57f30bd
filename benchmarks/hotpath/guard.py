"""Does the hot path still gain what it is written for? What continuous integration asks, on however noisy a machine.

    python -m benchmarks guard

Only speeds beside another variant of one run are asked for, with wide margins: on idle machines the multi-tensor
momentum update is three to four times as fast as the out-of-place loop, loss with gradient one and a half to three
times as fast as clone-and-concatenate, with a twentieth of its memory. A speed is the median over turns in which the
variants alternate, so that a job which comes in between hits both. Exit code 1 where a gain is lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.hotpath import run as hotpath
from benchmarks.measuring.result import Comparison
from benchmarks.settings import HotpathConfig
from eval.report.terminal import wrapped


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How many times as fast as the first variant the trainer's is at least, and which share of its peak memory it
    takes at most, for comparisons whose title starts so."""

    title: str
    reference: str
    speed: float
    memory: float | None = None


GAINS = (
    Gain(title="momentum update", reference="out-of-place loop", speed=1.25),
    Gain(title="InfoNCE", reference="clone, concatenate", speed=1.0, memory=0.3),
)
_MEASURED = HotpathConfig(encoder=("resnet18",), queue=(65_536,), turns=15, compile=False, share=False)


def guard() -> int:
    """Does the hot path still gain what it is written for? Exit code 1 if not."""
    misses = list(find_misses(list(hotpath.run(_MEASURED))))
    print("\n".join(wrapped(f"guard: {miss}", later="  ") for miss in misses) or f"guard: {len(GAINS)} gains are there")
    return 1 if misses else 0


def find_misses(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """What is lost, in words. What is guarded must have been measured, against the same reference."""
    for gain in GAINS:
        guarded = [one for one in comparisons if one.title.startswith(gain.title)]
        assert guarded, f"{gain.title}: not measured"
        for comparison in guarded:
            names = list(comparison.timings)
            ours = [name for name in names if "(trainer)" in name]
            assert names[0] == gain.reference, f"{comparison.title}: is against {names[0]}"
            assert len(ours) == 1, f"{comparison.title}: the trainer's is not one of {', '.join(names)}"
            speed = comparison.timings[ours[0]].speed
            if speed < gain.speed:
                yield f"{comparison.title}: {ours[0]} is {speed:.2f} times as fast as {names[0]}, under {gain.speed}"
            if gain.memory is not None:
                assert comparison.memory is not None, f"{comparison.title}: memory not measured"
                share = comparison.memory[ours[0]] / comparison.memory[names[0]]
                if share > gain.memory:
                    yield f"{comparison.title}: {ours[0]} takes {share:.2f} of the memory, above {gain.memory}"
