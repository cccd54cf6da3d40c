"""What metrics are made of. Nothing here knows how they are published.

All of it belongs to the event loop, and needs no locks.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias


class Metric(NamedTuple):
    """The name of a metric, as it is published, and what it means.

    `kind` is "counter", "gauge" or "histogram"; samples have a value for each of the `labels`.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


class Histogram:
    """How many values were not above each of the `bounds`, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many were in each bucket alone; the last is of those above all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Sample(NamedTuple):
    """The value of a metric for some values of its labels."""

    metric: Metric
    value: float | Histogram
    labels: tuple[str, ...] = ()


Source: TypeAlias = Callable[[], Awaitable[Iterable[Sample]]]
"""Says what it has counted. It never fails, and takes a few seconds at most."""
