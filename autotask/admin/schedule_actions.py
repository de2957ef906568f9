"""Pause, resume and run schedules, each written to its history with what was done."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from django.db import transaction

from autotask import registry
from autotask.models import Schedule
from autotask.store import pause
from autotask.store.connection import current

#: Writes down, in the transaction, that something was done to a schedule.
Log = Callable[[Schedule], object]


@dataclass
class Done:
    """What became of the schedules that somebody wanted to pause, to resume or to run.

    :ivar names: those it was done to.
    :ivar refused: those that were so already, or that the code of this process does not have.
    """

    names: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def pause_schedules(schedules: Iterable[Schedule], by: str, log: Log) -> Done:
    """Let the ticks of schedules pass without tasks."""
    return _for_each(schedules, log, lambda name: pause.pause(current(), name, by))


def resume_schedules(schedules: Iterable[Schedule], log: Log) -> Done:
    """Let the ticks of schedules make tasks again."""
    return _for_each(schedules, log, lambda name: pause.resume(current(), name))


def run_schedules(schedules: Iterable[Schedule], log: Log) -> Done:
    """Enqueue a task of each schedule beside its ticks."""
    return _for_each(schedules, log, _run)


def _run(name: str) -> bool:
    task = registry.schedules().get(name)
    if task is None:
        return False
    task.run_now()
    return True


def _for_each(schedules: Iterable[Schedule], log: Log, act: Callable[[str], bool]) -> Done:
    done, connection = Done(), current()
    for schedule in schedules:
        # One after the other: whoever holds the row of one must not wait for another, as a worker moves many at once.
        with transaction.atomic(using=connection.alias):
            if act(schedule.name):
                log(schedule)
                done.names.append(schedule.name)
            else:
                done.refused.append(schedule.name)
    return done
