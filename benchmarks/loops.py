"""The measured background workers. Only measures of these import this module: its workers host them."""

from typing import Any

from autotask.background import BackgroundEventWorker, BackgroundQueueWorker, background_worker
from benchmarks import probe

#: Idle background workers, half of them with a queue, half with an event.
IDLE = 20


@background_worker(queue=True)
def take(number: int) -> None:
    """Only record that it handles this number."""
    probe.hit(number)


#: What the interval worker records, and its interval.
TICK = -2
INTERVAL = 0.1


@background_worker(interval=INTERVAL, autostart=False)
def tick() -> None:
    """Only record that it runs."""
    probe.hit(TICK)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


idle = [
    kind(f"benchmarks.idle{number}", _nothing)
    for number, kind in zip(range(IDLE), [BackgroundQueueWorker, BackgroundEventWorker] * (IDLE // 2), strict=True)
]
