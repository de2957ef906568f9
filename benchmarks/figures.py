"""Percentiles, medians, ratios of each round, and numbers as text."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The values of several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not less than this share of all values (nearest rank).

    :param share: from 0 to 1.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def most_within(moments: Sequence[int], length: int) -> int:
    """Return the most moments in any span of this length; its end does not belong to it."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= length:
            first += 1
        most = max(most, last - first + 1)
    return most


def ratios(values: Sequence[float | None], others: Sequence[float | None]) -> list[float]:
    """Return value / other for each round that has both."""
    return [value / other for value, other in zip(values, others, strict=True) if value is not None and other]


def write(value: float) -> str:
    """Return a number as text: three significant digits, thousands separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"
