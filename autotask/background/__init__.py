"""Background workers: functions that the workers of the site keep running, by themselves, by a clock, a queue or an event."""

from autotask.background.decorator import background_worker
from autotask.background.kinds import (
    BackgroundAsyncWorker,
    BackgroundEventWorker,
    BackgroundIntervalWorker,
    BackgroundQueueWorker,
)
from autotask.background.workers import BackgroundWorker

__all__ = [
    "TASK_CRITICAL",
    "TASK_HIGH",
    "TASK_LOW",
    "TASK_NORMAL",
    "BackgroundAsyncWorker",
    "BackgroundEventWorker",
    "BackgroundIntervalWorker",
    "BackgroundQueueWorker",
    "BackgroundWorker",
    "background_worker",
]

#: Priorities by the names that atasker has for them.
TASK_LOW, TASK_NORMAL, TASK_HIGH, TASK_CRITICAL = -50, 0, 50, 100
