"""The metrics: which there are, what they mean, and where they are read."""

from collections.abc import Iterator, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.metrics.exposition import Labels, family, histograms
from autotask.statistics import BOUNDS, Counts
from autotask.store import gauges, statistics
from autotask.store.statistics import Of

#: Each bucket of a metric is as wide as that many of the statistics: a factor of four.
COARSER = 4

_ENDED = {"done": "succeeded", "error": "failed", "cancelled": "cancelled"}


def lines(connection: BaseDatabaseWrapper) -> Iterator[str]:
    """Yield the lines of all metrics.

    Counters are the sums of all times, one row for each task and queue; gauges are read from the ends of indexes.
    """
    yield from _gauges(connection)
    yield from _counters(statistics.totals(connection, by="both"))


def _gauges(connection: BaseDatabaseWrapper) -> list[str]:
    queues = gauges.queues(connection)
    states = ("scheduled", "held", "ready", "running")
    return [
        *family(
            "autotask_tasks",
            "gauge",
            f"Live tasks by queue and state. Ready ones are counted up to {gauges.MOST_READY} a queue, those of other states "
            f"up to {gauges.MOST_OTHERS} in all.",
            [({"queue": queue.queue, "state": state}, getattr(queue, state)) for queue in queues for state in states],
        ),
        *family(
            "autotask_oldest_ready_seconds",
            "gauge",
            "How long the oldest ready task of the queue has waited.",
            [({"queue": queue.queue}, queue.oldest) for queue in queues],
        ),
        *family(
            "autotask_workers",
            "gauge",
            "Workers that are running and take tasks, by kind.",
            [({"kind": kind}, number) for kind, number in _workers(connection).items()],
        ),
    ]


def _workers(connection: BaseDatabaseWrapper) -> dict[str, int]:
    # A series that is missing raises no alarm, so those of no worker are there.
    return {"companion": 0, "worker": 0} | gauges.workers(connection)


def _counters(counts: dict[Of, Counts]) -> Iterator[str]:
    labelled = [(_labels(of), each) for of, each in counts.items()]

    def counted(name: str, meaning: str, field: str) -> list[str]:
        return family(name, "counter", meaning, [(labels, getattr(each, field)) for labels, each in labelled])

    yield from counted("autotask_attempts_started_total", "Attempts that began, counted when they end.", "started")
    ended = [
        ({**labels, "outcome": outcome}, getattr(each, field))
        for labels, each in labelled
        for outcome, field in _ENDED.items()
    ]
    yield from family("autotask_tasks_ended_total", "counter", "Tasks that ended, by outcome.", ended)
    retried = "Attempts that failed and were followed by another one."
    yield from counted("autotask_attempts_retried_total", retried, "retried")
    yield from counted("autotask_attempts_lost_total", "Attempts whose worker or process died.", "lost")
    yield from histograms(
        "autotask_waiting_seconds",
        "Time from the moment when a task was ready until its attempt started.",
        BOUNDS[::COARSER],
        [(labels, coarser(each.waiting), each.waited) for labels, each in labelled],
    )
    yield from histograms(
        "autotask_running_seconds",
        "Time that attempts took.",
        BOUNDS[::COARSER],
        [(labels, coarser(each.running), each.ran) for labels, each in labelled],
    )


def _labels(of: Of) -> Labels:
    return {"task": of.name, "queue": of.queue}


def coarser(histogram: Sequence[int]) -> list[int]:
    """Return a histogram with the bounds ``BOUNDS[::COARSER]``."""
    return [histogram[0], *(sum(histogram[at + 1 : at + 1 + COARSER]) for at in range(0, len(BOUNDS), COARSER))]
