"""How long others have been silent, by this process's own clock, which need not agree with theirs."""

from collections.abc import Iterable


class Silence:
    """Seconds without a sign of life of each of ``number`` others.

    Args:
        now: seconds of a monotonic clock.
        most: a look counts as so many seconds at most. What lies between two looks beyond that, this process itself was
            stopped, asleep with its machine or without a core, and could hear nobody.
    """

    def __init__(self, number: int, *, now: float, most: float) -> None:
        self._seconds = [0.0] * number
        self._now, self._most = now, most

    def look(self, heard: Iterable[int], *, now: float) -> None:
        """Takes note of those who were heard since the look before."""
        passed = min(now - self._now, self._most)
        self._now = now
        self._seconds = [seconds + passed for seconds in self._seconds]
        for other in heard:
            self._seconds[other] = 0.0

    def longer_than(self, seconds: float) -> list[int]:
        """Who was silent for longer."""
        return [other for other, silent in enumerate(self._seconds) if silent > seconds]
