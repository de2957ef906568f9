"""Service: enqueue periodic and cron tasks that are due."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import registry
from autotask.definition import ScheduledTask
from autotask.signals import tell_missed
from autotask.store import schedules
from autotask.store.schedules import Move, StoredSchedule

logger = logging.getLogger("autotask.worker")

Schedules = Mapping[str, ScheduledTask[..., object]]

#: Seconds between two declarations that the code of this worker has its schedules.
DECLARE_EVERY = 300.0

#: Seconds after which a schedule that no worker declares any more is retired: longer than any deployment takes.
RETIRE_AFTER = 86400.0

#: A tick missed by more than this is not made up for.
LATEST = timedelta(hours=1)

#: Seconds after which the register is looked at even if no tick is expected; another worker may have changed it.
LOOK_EVERY = 30.0


#: No two looks are closer than this many seconds; ticks that come faster are made up for by one task.
SHORTEST_WAIT = 0.02


class Scheduler:
    """Turns ticks into tasks. Any number of workers may do this at once: each tick is enqueued once.

    :param wake: called when tasks have been enqueued.
    """

    doing = "enqueue scheduled tasks"

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._declared_at: float | None = None

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Enqueue what is due."""
        tasks = registry.schedules()
        if not tasks:
            return DECLARE_EVERY
        specs = {name: task.schedule.spec for name, task in tasks.items()}
        self._declare(connection, tasks, specs)
        due = schedules.due(connection, specs)
        if due:
            self._enqueue(connection, due, tasks)
        seconds = schedules.seconds_to_next(connection, specs)
        return LOOK_EVERY if seconds is None else min(max(seconds, SHORTEST_WAIT), LOOK_EVERY)

    def _declare(self, connection: BaseDatabaseWrapper, tasks: Schedules, specs: Mapping[str, str]) -> None:
        now = time.monotonic()
        if self._declared_at is None:
            self._register(connection, tasks, unless_declared=-1)
        elif now - self._declared_at >= DECLARE_EVERY:
            schedules.declare(connection, specs)
            # A newer version of the code may have been tried and taken back: what it declared is nobody's now.
            self._register(connection, tasks, unless_declared=3 * DECLARE_EVERY)
            retired = schedules.retire(connection, RETIRE_AFTER)
            if retired:
                logger.info("%d schedules retired that no worker has declared for a day", retired)
        else:
            return
        self._declared_at = now

    def _register(self, connection: BaseDatabaseWrapper, tasks: Schedules, unless_declared: float) -> None:
        moment = schedules.now(connection)
        declared = [
            (name, task.name, task.schedule.spec, task.schedule.first_after(moment)) for name, task in tasks.items()
        ]
        schedules.register(connection, declared, unless_declared)

    def _enqueue(self, connection: BaseDatabaseWrapper, due: list[StoredSchedule], tasks: Schedules) -> None:
        busy = schedules.with_live_tasks(connection, [schedule.name for schedule in due])
        moves = [_move(schedule, tasks[schedule.name]) for schedule in due]
        new = [
            tasks[move.name].tick_task(move.last_tick)
            for move, schedule in zip(moves, due, strict=True)
            if move.name not in busy and schedule.now - move.last_tick <= LATEST
        ]
        moved = schedules.advance(connection, moves, new)
        made = {task.kind.schedule for task in new}
        if moved & made:
            self._wake()
        for move in moves:
            if move.name in moved:
                _tell_missed(move, made=move.name in made, busy=move.name in busy)


def _tell_missed(move: Move, *, made: bool, busy: bool) -> None:
    if made and move.seen == move.last_tick:
        return
    reason, level = (
        ("made up for", logging.INFO) if made else ("busy", logging.DEBUG) if busy else ("late", logging.WARNING)
    )
    tell_missed(move.name, move.seen, move.last_tick, reason, level)


def _move(schedule: StoredSchedule, task: ScheduledTask[..., object]) -> Move:
    """Ticks that were missed together are made up for by one task, that of the last one."""
    tick = task.schedule.latest_before(schedule.next_tick, schedule.now)
    return Move(schedule.name, seen=schedule.next_tick, last_tick=tick, next_tick=task.schedule.next_after(tick))
