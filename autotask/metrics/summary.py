"""The summary of tasks in a range of time, and its JSON document; the keys are documented, and stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autotask.documents import stamp
from autotask.statistics import NUMBERS, Counts, quantile
from autotask.store.statistics import Of

#: The quantiles of waiting and running times that are shown, in percent.
SHARES = (50, 95)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The summary of tasks in a range of time, by name and queue."""

    since: datetime
    until: datetime
    counts: dict[Of, Counts]

    @property
    def minutes(self) -> float:
        """The length of the range."""
        return (self.until - self.since).total_seconds() / 60


def statistics_document(seen: Statistics) -> dict[str, Any]:
    """Return the document of statistics."""
    return {
        "since": stamp(seen.since),
        "until": stamp(seen.until),
        "tasks": [
            {
                "name": of.name,
                "queue": of.queue,
                **{name: getattr(counts, name) for name in NUMBERS},
                "ended_per_minute": round(counts.ended / seen.minutes, 3),
                "waiting_seconds": _durations(counts.waiting, counts.waited),
                "running_seconds": _durations(counts.running, counts.ran),
            }
            for of, counts in seen.counts.items()
        ],
    }


def _durations(histogram: Sequence[int], seconds: float) -> dict[str, float | None]:
    number = sum(histogram)
    quantiles = {f"p{share}": quantile(histogram, share / 100) for share in SHARES}
    mean = {"mean": seconds / number if number else None}
    return {name: None if value is None else round(value, 6) for name, value in (quantiles | mean).items()}
