"""Counts of attempts, and how long they waited and ran, in histograms with fixed bounds; standard library only."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

#: The upper bounds of the buckets of a histogram, in seconds: from a millisecond to 4.7 hours, each √2 times the one before.
#: One more bucket holds what is longer. They are stored by their place, so they never change.
BOUNDS: tuple[float, ...] = tuple(0.001 * 2.0 ** (place / 2) for place in range(49))

BUCKETS = len(BOUNDS) + 1


def _empty() -> list[int]:
    return [0] * BUCKETS


@dataclass(slots=True)
class Counts:
    """The counts of the tasks of one name and queue in some period.

    :ivar started: attempts that began. An attempt is counted when it ends.
    :ivar succeeded: tasks that ended as DONE.
    :ivar failed: tasks that ended in ERROR.
    :ivar retried: attempts that failed, with another one to follow.
    :ivar cancelled: tasks that ended as CANCELLED, those that no worker had taken among them.
    :ivar lost: attempts whose worker or process died.
    :ivar waited: seconds, of all attempts together, from the moment when a task was ready until it started.
    :ivar ran: seconds that all attempts together took.
    :ivar waiting: how many attempts waited how long: one number for each bucket.
    :ivar running: the same for how long they ran.
    """

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    lost: int = 0
    waited: float = 0.0
    ran: float = 0.0
    waiting: list[int] = field(default_factory=_empty)
    running: list[int] = field(default_factory=_empty)

    @property
    def ended(self) -> int:
        """Tasks that ended, in whatever way."""
        return self.succeeded + self.failed + self.cancelled

    def add(self, other: "Counts") -> None:
        """Add the counts of another period, or of other tasks."""
        for name in (*NUMBERS, *SECONDS):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.waiting = list(map(sum, zip(self.waiting, other.waiting, strict=True)))
        self.running = list(map(sum, zip(self.running, other.running, strict=True)))


#: The fields of :class:`Counts` by their kind.
NUMBERS = ("started", "succeeded", "failed", "retried", "cancelled", "lost")
SECONDS = ("waited", "ran")
HISTOGRAMS = ("waiting", "running")


def bucket(seconds: float) -> int:
    """Return the place of the bucket for a duration."""
    return bisect_left(BOUNDS, seconds)


def padded(histogram: Sequence[int] | None) -> list[int]:
    """Return a histogram, whose empty buckets at the end were left out, in full."""
    found = list(histogram or ())
    return found + [0] * (BUCKETS - len(found))


def trimmed(histogram: Sequence[int]) -> list[int]:
    """Return a histogram without the empty buckets at its end."""
    size = len(histogram)
    while size and not histogram[size - 1]:
        size -= 1
    return list(histogram[:size])


def quantile(histogram: Sequence[int], share: float) -> float | None:
    """Estimate the duration that a share of all stays below: 0.5 for the median, 0.95 for the 95th percentile.

    The buckets bound the error: the true value is in the same bucket, so at most √2 times as large or as small, and above a
    millisecond. What is longer than the last bound counts as that bound.

    :param share: from 0 to 1.
    :returns: seconds; None if the histogram is empty.
    """
    total = sum(histogram)
    if not total:
        return None
    rank, below = share * total, 0
    for place, count in enumerate(histogram):
        if count and below + count >= rank:
            return _within(place, max(0.0, (rank - below) / count))
        below += count
    return BOUNDS[-1]


def _within(place: int, share: float) -> float:
    """Return the duration at a share of a bucket."""
    if place == 0:
        return BOUNDS[0] * share
    if place == len(BOUNDS):
        return BOUNDS[-1]
    return float(BOUNDS[place - 1] * (BOUNDS[place] / BOUNDS[place - 1]) ** share)
